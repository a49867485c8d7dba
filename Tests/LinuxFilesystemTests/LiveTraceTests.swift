// An instance of the kernel's tracer, on a filesystem that is mounted for the test.

import Foundation
import Testing

@testable import LinuxFilesystem

@Suite(
    .enabled(
        if: LiveMachine.canTrace,
        LiveMachine.xfs ?? "the kernel lets this process have no instance of its tracer"))
struct LiveTraceTests {
    /// Reads all there is.
    static func drain(_ instance: TraceInstance, _ receiver: inout KeepingReceiver) throws {
        for buffer in instance.buffers {
            while try buffer.read(instance.decoder, to: &receiver) != nil {}
        }
    }

    static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    @Test func `each change of the filesystem is told, of another none, behind it the markers`()
        throws
    {
        try LiveMachine.withMounted(.xfs) { path in
            try LiveMachine.withMounted(.xfs) { other in
                let mount = try MountedFilesystem(path: path)
                let instance = try TraceInstance(
                    try TraceSystem(), .xfs, on: mount, bufferKilobytes: 1024)
                let before = Self.now()
                for n in 0..<100 {
                    try Data("x".utf8).write(to: URL(fileURLWithPath: "\(path)/mine-\(n)"))
                    try Data("x".utf8).write(to: URL(fileURLWithPath: "\(other)/theirs-\(n)"))
                }
                for n in 0..<50 { #expect(unlink("\(path)/mine-\(n)") == 0) }
                let after = Self.now()
                for buffer in instance.buffers {
                    let marked = try instance.mark("tidemark 17", processor: buffer.processor)
                    #expect(marked == .written || marked == .offLine)
                }
                var receiver = KeepingReceiver()
                try Self.drain(instance, &receiver)
                let lines = Set(receiver.lines)
                for n in 0..<100 { #expect(lines.contains("add mine-\(n)")) }
                for n in 0..<50 { #expect(lines.contains("remove mine-\(n)")) }
                #expect(!receiver.lines.contains { $0.contains("theirs") })
                #expect(receiver.markers.allSatisfy { $0.hasPrefix("tidemark 17") })
                #expect(!receiver.markers.isEmpty)
                // Markers come last, and everything carries the clock that readers use.
                #expect(receiver.stamps.allSatisfy { before <= $0 && $0 <= Self.now() })
                #expect(receiver.stamps.filter { $0 > after }.count >= receiver.markers.count)
                #expect(try instance.buffers.allSatisfy { try $0.statistics().lost == 0 })
                #expect(try !instance.isTampered())
            }
        }
    }

    @Test func `a buffer that is too small counts what it loses, and says that it is full`() throws
    {
        try LiveMachine.withMounted(.xfs) { path in
            let mount = try MountedFilesystem(path: path)
            let instance = try TraceInstance(
                try TraceSystem(), .xfs, on: mount, bufferKilobytes: 8)
            for n in 0..<2000 {
                try Data("x".utf8).write(to: URL(fileURLWithPath: "\(path)/file-\(n)"))
            }
            let lost = try instance.buffers.map { try $0.statistics().lost }
            #expect(lost.contains { $0 > 0 })
            for (place, buffer) in instance.buffers.enumerated() where lost[place] > 0 {
                #expect(
                    try instance.mark("tidemark 1", processor: buffer.processor) == .full)
            }
            var receiver = KeepingReceiver()
            try Self.drain(instance, &receiver)
            // What was there first is still there.
            #expect(receiver.lines.first == "add file-0" || instance.buffers.count > 1)
            for buffer in instance.buffers {
                #expect(
                    try instance.mark("tidemark 2", processor: buffer.processor) != .full)
            }
        }
    }

    @Test func `an instance is removed with its owner, and an abandoned one by the next`() throws {
        try LiveMachine.withMounted(.xfs) { path in
            let mount = try MountedFilesystem(path: path)
            let system = try TraceSystem()
            // The number of a process that can't be: above the largest that Linux gives.
            let abandoned = "instances/tidemark-0-0-1-99999999"
            #expect(mkdirat(system.root.number, abandoned, 0o700) == 0)
            let instance = try TraceInstance(system, .xfs, on: mount, bufferKilobytes: 64)
            let name = instance.name
            let place = try system.root.open("instances", flags: O_RDONLY | O_DIRECTORY)
            var names = try place.names()
            #expect(names.contains(name))
            #expect(!names.contains("tidemark-0-0-1-99999999"))
            instance.close()
            #expect(try instance.isTampered())
            #expect(lseek(place.number, 0, SEEK_SET) == 0)
            names = try place.names()
            #expect(!names.contains(name))
        }
    }

    @Test func `an instance that somebody switches off is recognised`() throws {
        try LiveMachine.withMounted(.xfs) { path in
            let mount = try MountedFilesystem(path: path)
            let system = try TraceSystem()
            let instance = try TraceInstance(system, .xfs, on: mount, bufferKilobytes: 64)
            try system.root.write("0", to: "instances/\(instance.name)/tracing_on")
            #expect(try instance.isTampered())
        }
    }
}
