// What happens where liblmdb meets what it can't go on with: an assert of its own, or a page that
// the kernel can't give it (SIGBUS: the file is shorter than it was, or its disk fails) or that
// leads nowhere (SIGSEGV). There is no way back into the program from there: it says what to do,
// and ends, with a status that tells its service manager not to start it again at once.

internal import CLMDB
internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

/// The end of a process whose metadata can't be read. Nothing happens until a program asks for it:
/// in one that doesn't, liblmdb prints its own words and aborts.
@safe
package enum FailStop {
    /// Written, where it has been installed.
    nonisolated(unsafe) private static var text: UnsafeMutableRawPointer?
    nonisolated(unsafe) private static var length = 0
    nonisolated(unsafe) private static var status: Int32 = 4
    private static let descriptor = Atomic<Int32>(2)
    private static let isInstalled = Atomic(false)

    /// From now on an assert of liblmdb, and a SIGSEGV or SIGBUS of metadata, write `message` to
    /// `descriptor`, and end the process with `status`. To be called before environments are
    /// opened, and while no other thread calls it; a second call takes the place of the first.
    package static func install(message: String, descriptor: Int32 = 2, status: Int32 = 4) {
        let bytes = Array(message.utf8)
        let copy = UnsafeMutableRawPointer.allocate(byteCount: bytes.count + 1, alignment: 1)
        unsafe copy.copyMemory(from: bytes, byteCount: bytes.count)
        unsafe text = unsafe copy
        unsafe length = bytes.count
        unsafe self.status = status
        FailStop.descriptor.store(descriptor, ordering: .relaxed)
        isInstalled.store(true, ordering: .releasing)
        for number in [SIGSEGV, SIGBUS] {
            var action = sigaction()
            unsafe action.__sigaction_handler.sa_sigaction = { _, fault, context in
                // What is no fault of metadata is one of ours: back there it comes again, and is
                // what it would have been.
                guard let fault = unsafe fault,
                    unsafe lmdb_shim_is_metadata_fault(fault, context) == 0
                else { FailStop.end() }
            }
            action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND)) | Int32(SA_SIGINFO)
            unsafe sigaction(number, &action, nil)
        }
    }

    /// Of a handler: nothing here takes a lock or memory.
    private static func end() -> Never {
        if let text = unsafe text {
            _ = unsafe write(descriptor.load(ordering: .relaxed), text, length)
        }
        unsafe _exit(status)
    }

    static func watch(_ environment: OpaquePointer) {
        guard isInstalled.load(ordering: .acquiring) else { return }
        _ = unsafe mdb_env_set_assert(environment) { _, _ in FailStop.end() }
    }
}
