// Write transactions that are begun and ended by hand, for an owner whose one writer
// thread keeps a transaction open while it runs many operations (group commit).
//
// What must hold is what `Environment.write` keeps by construction: one write transaction
// at a time for each thread, ended on the thread that began it. Both are checked.

internal import CLMDB
internal import Synchronization

extension Environment {
    /// Begins the write transaction. Waits while another thread or process writes.
    package func beginWrite() throws(LMDBError) -> WriteTransaction {
        let thread = lmdb_shim_thread()
        state.withLock {
            precondition($0.writer != thread, "a write transaction inside a write transaction")
        }
        let raw = unsafe try begin(flags: 0)
        state.withLock { $0.writer = thread }
        return unsafe WriteTransaction(TransactionHandle(self, raw, isWriter: true))
    }

    /// A write transaction that is over, to be replaced by one that is not.
    package func endedTransaction() -> WriteTransaction {
        unsafe WriteTransaction(TransactionHandle(self, nil, isWriter: true))
    }
}

extension WriteTransaction {
    package var isOver: Bool { unsafe handle.raw == nil }

    /// Whether this thread has begun it, and so is the one to end it.
    package var isOfThisThread: Bool { lmdb_shim_thread() == writerThread }

    /// Makes what was written visible. The transaction is over, even where this throws:
    /// then nothing of it has happened.
    package mutating func commitNow() throws(LMDBError) {
        try finish(commit: true, thread: writerThread)
    }

    /// Forgets what was written. The transaction is over.
    package mutating func abortNow() {
        // Aborting has no way to fail.
        try? finish(commit: false, thread: writerThread)
    }

    private var writerThread: Int32 { handle.environment.state.withLock { $0.writer } }

    /// A cursor for reading inside the transaction. Its spans are good until the
    /// transaction's next change; it must be gone before the transaction ends.
    package func readCursor(_ table: Table) throws(LMDBError) -> Cursor {
        unsafe Cursor(handle, try handle.openCursor(table), table)
    }
}
