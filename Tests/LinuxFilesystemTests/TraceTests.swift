// Pages of the trace buffer: recorded ones, and ones that are made here for what a recording does
// not have.

import Bytes
import Foundation
import Testing

@testable import LinuxFilesystem

@Suite struct TraceTests {
    @Test func `a recording tells each change once, in order, between its markers`() throws {
        let decoder = try Recorded.decoder()
        var receiver = KeepingReceiver()
        var events = 0
        for page in try Recorded.pages() {
            events += try decoder.decode(page.rawSpan, to: &receiver).events
        }
        let counts = try #require(TraceStatistics(try Recorded.text("stats.txt")))
        #expect(events == Int(counts.readEvents))
        #expect(counts.lost == 0)
        #expect(
            receiver.markers.map { $0.split(separator: "\n").first ?? "" } == [
                "tidemark first", "tidemark last",
            ])
        #expect(receiver.stamps == receiver.stamps.sorted())
        let bounds = try Recorded.text("bounds.txt").split(whereSeparator: \.isWhitespace)
            .compactMap { UInt64($0) }
        #expect(receiver.stamps.allSatisfy { bounds[0] <= $0 && $0 <= bounds[1] })
        // The second between the last change and the marker needs a time extend.
        let last = try #require(receiver.stamps.last)
        #expect(last - receiver.stamps[receiver.stamps.count - 2] > 900_000_000)
    }

    @Test func `names are added, removed and replaced`() throws {
        let decoder = try Recorded.decoder()
        var receiver = KeepingReceiver()
        for page in try Recorded.pages() { _ = try decoder.decode(page.rawSpan, to: &receiver) }
        let lines = Set(receiver.lines)
        for n in 0..<40 {
            let digits = String(n)
            let name = "file-" + String(repeating: "0", count: 3 - digits.count) + digits
            #expect(lines.contains("add \(name)"))
            if n >= 10 { #expect(lines.contains("remove \(name)")) }
        }
        #expect(lines.contains("replace file-002") && lines.contains("remove file-001"))
        #expect(lines.contains("remove file-003") && lines.contains("add renamed"))
    }

    @Test func `mappings and their conversion carry group, block, owner, offset and flags`() throws
    {
        let decoder = try Recorded.decoder()
        var receiver = KeepingReceiver()
        for page in try Recorded.pages() { _ = try decoder.decode(page.rawSpan, to: &receiver) }
        let unwritten = try #require(receiver.mappings.first { $0.kind == .map && $0.isUnwritten })
        #expect(unwritten.length == 256)
        let converted = try #require(receiver.mappings.first { $0.kind == .convert })
        #expect(converted.owner == unwritten.owner && converted.offset == 16)
        #expect(converted.length == 1 && converted.isUnwritten)
        #expect(converted.block == unwritten.block + 16)
        #expect(receiver.mappings.contains { $0.kind == .unmap })
        // A mebibyte of blocks of 1024 bytes, whatever the pieces.
        let allocated = receiver.blocks.filter { $0.kind == .allocate && $0.count > 100 }
        #expect(allocated.map(\.count).reduce(0, +) == 1024)
        #expect(receiver.blocks.contains { $0.kind == .free })
    }

    // MARK: Made pages

    /// An entry whose record is that of a marker: common fields, an address, `text`.
    static func marker(_ text: String) -> [UInt8] {
        var record = [UInt8](repeating: 0, count: 16)
        record[0] = 5
        record += Array(text.utf8) + [0]
        while record.count % 4 != 0 { record.append(0) }
        return record
    }

    static func word(_ kind: Int, _ delta: UInt32) -> [UInt8] {
        let word = UInt32(kind) | delta << 5
        return withUnsafeBytes(of: word) { Array($0) }
    }

    static func page(_ time: UInt64, _ entries: [[UInt8]], flags: UInt64 = 0) -> [UInt8] {
        let data = entries.flatMap { $0 }
        var page = withUnsafeBytes(of: time) { Array($0) }
        page += withUnsafeBytes(of: UInt64(data.count) | flags) { Array($0) }
        return page + data + [UInt8](repeating: 0, count: 4080 - data.count)
    }

    static func number(_ value: UInt32) -> [UInt8] { withUnsafeBytes(of: value) { Array($0) } }

    @Test func `time extends, time stamps, padding and discarded events`() throws {
        let a = Self.marker("a")
        let words = a.count / 4
        let topmost: UInt64 = 3 << 59
        let entries: [[UInt8]] = [
            Self.word(words, 7), a,
            // 2^27 * 3 + 5 nanoseconds.
            Self.word(30, 5) + Self.number(3), Self.word(words, 0), a,
            // A discarded event keeps its time.
            Self.word(29, 10) + Self.number(UInt32(a.count + 4)) + a,
            // One of no time does not.
            Self.word(29, 1) + Self.number(UInt32(a.count + 4)) + a,
            Self.word(words, 1), a,
            Self.word(31, 9) + Self.number(1 << 20), Self.word(words, 2), a,
            // A long record.
            Self.word(0, 4) + Self.number(UInt32(a.count + 4)) + a,
            Self.word(29, 0), [UInt8](repeating: 0xee, count: 64),
        ]
        var receiver = KeepingReceiver()
        let start = topmost | 1000
        let page = Self.page(start, entries, flags: 1 << 31)
        let summary = try Recorded.decoder().decode(page.rawSpan, to: &receiver)
        let extended = start + 7 + 3 << 27 + 5
        let stamp = topmost | 1 << 47 | 9
        #expect(
            receiver.stamps == [
                start + 7, extended, extended + 11, stamp + 2, stamp + 6,
            ])
        #expect(receiver.markers == ["a", "a", "a", "a", "a"])
        #expect(summary.saysMissed && summary.events == 5 && summary.last == stamp + 6)
    }

    @Test func `a time stamp whose lower bits have begun again goes on, not back`() throws {
        let a = Self.marker("a")
        let time: UInt64 = 4 << 59 | (1 << 59 - 1)
        var receiver = KeepingReceiver()
        let page = Self.page(
            time, [Self.word(31, 3) + Self.number(0), Self.word(a.count / 4, 0), a])
        _ = try Recorded.decoder().decode(page.rawSpan, to: &receiver)
        #expect(receiver.stamps == [5 << 59 | 3])
    }

    @Test func `entries that reach beyond what is committed are refused`() throws {
        let decoder = try Recorded.decoder()
        let a = Self.marker("a")
        for entry in [
            Self.word(28, 0) + a, Self.word(0, 0) + Self.number(4000),
            Self.word(0, 0) + Self.number(3),
            Self.word(30, 1), Self.word(29, 4) + Self.number(1 << 31),
            Self.word(1, 0) + [5, 0, 0, 0],
        ] {
            var receiver = KeepingReceiver()
            let page = Self.page(1, [entry])
            #expect(throws: TracePageError.self) {
                _ = try decoder.decode(page.rawSpan, to: &receiver)
            }
        }
        var receiver = KeepingReceiver()
        let page = Self.page(1, [], flags: 4081)
        #expect(throws: TracePageError.self) {
            _ = try decoder.decode(page.rawSpan, to: &receiver)
        }
    }

    @Test func `fields are read where the format file says, also on another kernel`() throws {
        // ext4's events as Linux 7.2 has them: other offsets, and an inode number of u64.
        let allocate = """
            name: ext4_allocate_blocks
            ID: 700
            format:
            \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

            \tfield:u64 ino;\toffset:8;\tsize:8;\tsigned:0;
            \tfield:u64 block;\toffset:16;\tsize:8;\tsigned:0;
            \tfield:dev_t dev;\toffset:24;\tsize:4;\tsigned:0;
            \tfield:unsigned int len;\toffset:28;\tsize:4;\tsigned:0;
            \tfield:__u32 logical;\toffset:32;\tsize:4;\tsigned:0;
            """
        let header = try Recorded.formats()[0].text
        let decoder = try TraceDecoder(
            page: header, formats: [("ext4_allocate_blocks", allocate)])
        var record = [UInt8](repeating: 0, count: 36)
        (record[0], record[1]) = (0xbc, 0x02)  // 700
        (record[8], record[16], record[28], record[32]) = (12, 34, 5, 6)
        var receiver = KeepingReceiver()
        let page = Self.page(9, [Self.word(9, 0), record])
        _ = try decoder.decode(page.rawSpan, to: &receiver)
        #expect(
            receiver.blocks == [
                BlockChange(kind: .allocate, inode: 12, block: 34, count: 5, logical: 6)
            ])
        #expect(throws: TraceFormatError.self) {
            _ = try TraceDecoder(
                page: header,
                formats: [
                    (
                        "ext4_allocate_blocks",
                        allocate.replacingOccurrences(of: "block;", with: "blk;")
                    )
                ])
        }
    }
}
