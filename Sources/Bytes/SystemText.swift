// Error numbers of the system, in words.

#if canImport(Glibc)
internal import Glibc
#endif

/// The system's words for an error number (strerror(3)).
public func systemText(_ number: Int32) -> String {
    guard let text = unsafe strerror(number) else { return "error \(number)" }
    return unsafe String(cString: text)
}
