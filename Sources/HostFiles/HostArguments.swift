// What a process was started with, as the system has it: bytes.

#if canImport(Glibc)
internal import Glibc
#endif

/// The words of the command line, the name of the program first.
public func hostArguments() -> [[UInt8]] {
    (0..<Int(CommandLine.argc)).compactMap { place in
        guard let word = unsafe CommandLine.unsafeArgv[place] else { return nil }
        return unsafe UnsafeBufferPointer(start: word, count: strlen(word))
            .map { UInt8(bitPattern: $0) }
    }
}
