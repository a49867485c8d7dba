// Extended attributes, of whatever type of file, without opening it: through the name
// that proc(5) gives to an open directory.

internal import CXattr
#if canImport(Glibc)
internal import Glibc
#endif

public struct HostAttribute: Hashable, Sendable {
    public let name: [UInt8]
    public let value: [UInt8]
}

extension HostFile {
    /// Of `name` in this directory; of a symbolic link itself.
    public func attributes(of name: [UInt8]) throws(HostError) -> [HostAttribute] {
        try attributes(path: Array("/proc/self/fd/\(descriptor)/".utf8) + name)
    }

    /// Of the open file or directory itself.
    public func attributes() throws(HostError) -> [HostAttribute] {
        try attributes(path: Array("/proc/self/fd/\(descriptor)/.".utf8))
    }

    private func attributes(path: [UInt8]) throws(HostError) -> [HostAttribute] {
        let names = unsafe try filled("list the attributes of") { buffer, size in
            unsafe withName(path) { unsafe llistxattr($0, buffer, size) }
        }
        var attributes: [HostAttribute] = []
        for name in names.split(separator: 0) {
            let name = Array(name)
            do throws(HostError) {
                let value = unsafe try filled("read an attribute of") { buffer, size in
                    unsafe withName(path) { path in
                        unsafe withName(name) { unsafe lgetxattr(path, $0, buffer, size) }
                    }
                }
                attributes.append(HostAttribute(name: name, value: value))
            } catch {
                // Gone since it was listed.
                if error.errno != ENODATA { throw error }
            }
        }
        return attributes
    }

    /// What a call that fills a buffer, and says how large it should have been, gives.
    private func filled(
        _ operation: String, _ call: (UnsafeMutablePointer<CChar>?, Int) -> Int
    ) throws(HostError) -> [UInt8] {
        while true {
            let size = call(nil, 0)
            if size == 0 { return [] }
            if size < 0 {
                // A file system without attributes has none.
                if Glibc.errno == EOPNOTSUPP { return [] }
                throw HostError(operation)
            }
            var buffer = [UInt8](repeating: 0, count: size)
            let count = unsafe buffer.withUnsafeMutableBytes {
                unsafe call($0.baseAddress!.assumingMemoryBound(to: CChar.self), size)
            }
            if count >= 0 { return Array(buffer.prefix(count)) }
            // It has grown between the two calls.
            if Glibc.errno != ERANGE { throw HostError(operation) }
        }
    }
}
