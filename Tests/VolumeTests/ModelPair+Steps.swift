// One random operation on both sides.

import Bytes
import VolumeFormat

@testable import Volume

extension ModelPair {
    mutating func step() throws {
        small.now += 1
        model.now = ModelTime(seconds: small.now, nanoseconds: 7)
        switch pick(100) {
        case 0..<14: try makeStep()
        case 14..<18: try linkStep()
        case 18..<28: try removeStep()
        case 28..<42: try renameStep()
        case 42..<48: try attributesStep()
        case 48..<62: try writeStep()
        case 62..<68: try readStep()
        case 68..<80: try allocateStep()
        case 80..<90: try xattrStep()
        default: try openStep()
        }
    }

    private mutating func makeStep() throws {
        let (dir, name) = (directory(), name())
        let new = NewInode(permissions: UInt16(pick(0o10000)), uid: 1, gid: 2, project: 3)
        let permissions = new.permissions
        switch pick(5) {
        case 0, 1:
            try both("create \(name) in \(dir)") {
                try $0.perform { try $0.create(dir, name, new).number }
            } _: { model throws(ModelError) in
                try model.make(dir, name, ModelNode.regular, permissions: permissions)
            }
        case 2:
            try both("mkdir \(name) in \(dir)") {
                try $0.perform { try $0.makeDirectory(dir, name, new).number }
            } _: { model throws(ModelError) in
                try model.make(dir, name, ModelNode.directory, permissions: permissions)
            }
        case 3:
            try both("mkfifo \(name) in \(dir)") {
                try $0.perform { try $0.makeNode(dir, name, .fifo, new).number }
            } _: { model throws(ModelError) in
                try model.make(dir, name, ModelNode.fifo, permissions: permissions)
            }
        default:
            let long = [UInt8](repeating: 0x62, count: 4095 + pick(2))
            let target = [[], [0x61, 0], long, [0x2f, 0x61]][pick(4)]
            try both("symlink \(name) in \(dir)") {
                try $0.perform { try $0.symlink(dir, name, to: target, new).number }
            } _: { model throws(ModelError) in
                try model.make(
                    dir, name, ModelNode.symlink, permissions: permissions, target: target)
            }
        }
    }

    private mutating func linkStep() throws {
        let (n, dir, name) = (inode(), directory(), name())
        try both("link \(n) as \(name) in \(dir)") {
            try $0.perform { _ = try $0.link(n, dir, name) }
            return true
        } _: { model throws(ModelError) in
            try model.link(n, dir, name)
            return true
        }
    }

    private mutating func removeStep() throws {
        let (dir, name) = (directory(), name())
        let isDirectory = pick(3) == 0
        try both("\(isDirectory ? "rmdir" : "unlink") \(name) in \(dir)") {
            try $0.perform {
                if isDirectory {
                    try $0.removeDirectory(dir, name)
                } else {
                    try $0.unlink(dir, name)
                }
            }
            return true
        } _: { model throws(ModelError) in
            if isDirectory {
                try model.removeDirectory(dir, name)
            } else {
                try model.unlink(dir, name)
            }
            return true
        }
    }

    private mutating func renameStep() throws {
        let (from, fromName, to, toName) = (directory(), name(), directory(), name())
        let choice = pick(4)
        let mode: RenameMode = [.replace, .replace, .noReplace, .exchange][choice]
        let modelMode: ModelFileSystem.Rename = [.replace, .replace, .noReplace, .exchange][choice]
        try both("rename \(fromName) in \(from) to \(toName) in \(to), \(mode)") {
            try $0.perform { try $0.rename(from, fromName, to: to, toName, mode) }
            return true
        } _: { model throws(ModelError) in
            try model.rename(from, fromName, to, toName, modelMode)
            return true
        }
    }

    private mutating func attributesStep() throws {
        let n = pick(2) == 0 ? inode() : file()
        var changes = AttributeChanges()
        if pick(2) == 0 {
            changes.size = pick(30) == 0 ? UInt64(Int64.max) + 1 : UInt64(pick(15_000))
        }
        if pick(3) == 0 { changes.permissions = UInt16(pick(0o10000)) }
        if pick(3) == 0 { changes.uid = UInt32(pick(9)) }
        if pick(3) == 0 { changes.modified = Timestamp(seconds: Int64(pick(99)), nanoseconds: 5) }
        let asked = changes
        try both("set \(asked) of \(n)") {
            try $0.perform { _ = try $0.setAttributes(n, asked) }
            return true
        } _: { model throws(ModelError) in
            try model.setAttributes(
                n, permissions: asked.permissions, uid: asked.uid, size: asked.size,
                modified: asked.modified?.model)
            return true
        }
    }

    private mutating func writeStep() throws {
        let (n, offset, bytes) = (file(), offset(), contents(pick(6) == 0 ? 9_000 : 1_500))
        try both("write \(bytes.count) at \(offset) of \(n)") {
            try $0.write(n, at: offset, bytes.span.bytes)
            return true
        } _: { model throws(ModelError) in
            try model.write(n, offset, bytes)
            return true
        }
    }

    private mutating func readStep() throws {
        let (n, offset, count) = (file(), offset(), pick(9_000))
        switch pick(3) {
        case 0:
            try both("read \(count) at \(offset) of \(n)") {
                try $0.read(n, at: offset, count)
            } _: { model throws(ModelError) in
                try model.read(n, offset, count)
            }
        case 1:
            try both("seek data at \(offset) of \(n)") {
                try $0.read().seekData(n, offset)
            } _: { model throws(ModelError) in
                try model.seek(n, offset, data: true)
            }
        default:
            try both("seek hole at \(offset) of \(n)") {
                try $0.read().seekHole(n, offset)
            } _: { model throws(ModelError) in
                try model.seek(n, offset, data: false)
            }
        }
    }

    private mutating func allocateStep() throws {
        let (n, offset, count) = (file(), offset(), UInt64(pick(6_000)))
        let choice = pick(5)
        let mode: AllocationMode = [
            .reserve(keepSize: false), .reserve(keepSize: true), .punchHole,
            .zeroRange(keepSize: false), .zeroRange(keepSize: true),
        ][choice]
        let modelMode: ModelFileSystem.Allocate = [
            .reserve, .reserveKeep, .punch, .zero, .zeroKeep,
        ][choice]
        try both("allocate \(count) at \(offset) of \(n), \(mode)") {
            try $0.perform { try $0.allocate(n, offset, count, mode) }
            return true
        } _: { model throws(ModelError) in
            try model.allocate(n, offset, count, modelMode)
            return true
        }
    }

    private mutating func xattrStep() throws {
        let (n, name) = (inode(), xattrName())
        switch pick(5) {
        case 0:
            try both("remove attribute \(name) of \(n)") {
                try $0.perform { try $0.removeXattr(n, name) }
                return true
            } _: { model throws(ModelError) in
                try model.removeXattr(n, name)
                return true
            }
        default:
            let value = pick(40) == 0 ? [UInt8](repeating: 1, count: 65_537) : contents(4_000)
            let choice = pick(3)
            let mode: XattrMode = [.set, .create, .replace][choice]
            let modelMode: ModelFileSystem.XattrSet = [.any, .create, .replace][choice]
            try both("set attribute \(name) of \(n) to \(value.count) bytes, \(mode)") {
                try $0.setXattr(n, name, value, mode)
                return true
            } _: { model throws(ModelError) in
                try model.setXattr(n, name, value, modelMode)
                return true
            }
        }
    }

    private mutating func openStep() throws {
        if pick(2) == 0 {
            let n = inode()
            try both("open \(n)") {
                try $0.open(n)
                return true
            } _: { model throws(ModelError) in
                try model.open(n)
                return true
            }
            if model.nodes[n] != nil { opened.append(n) }
        } else if !opened.isEmpty {
            let n = opened.remove(at: pick(opened.count))
            try both("close \(n)") {
                try $0.close(n)
                return true
            } _: { model throws(ModelError) in
                model.close(n)
                return true
            }
        }
    }
}
