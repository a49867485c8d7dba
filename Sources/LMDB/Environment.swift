// One LMDB environment: a file with many tables, one writer and any number of readers
// that each see the state of one commit.
//
// What must hold:
// - An environment is opened once per process and never used across fork(2).
// - A write transaction stays on the thread that began it: liblmdb's lock belongs to
//   that thread, and a commit from another one reports success and leaves it locked.
//   `write` keeps to it by construction, and checks.
// - A thread never begins a second write transaction inside its first: it would wait
//   for itself. That is a precondition failure here.
// - Read transactions use MDB_NOTLS: they belong to objects, not to threads.
// - Tables are opened, created and dropped by one thread at a time, and not while another
//   thread's write transaction that did so is open: liblmdb hands out handles without a lock.
//   A table is seen only by transactions that begin after it was opened.

internal import Bytes
internal import CLMDB
internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

@safe public final class Environment: @unchecked Sendable {
    public struct Options: Sendable {
        /// Bytes of address space for the file. It may be far larger than what is stored.
        public var mapSize: Int
        /// Named tables at the most.
        public var maximumTables: Int
        /// Read transactions at one time at the most.
        public var maximumReaders: Int
        public var isReadOnly: Bool
        /// Commit without waiting for the disk. What is then durable, and when, is the
        /// caller's to arrange (see `DurablePoint`).
        public var isUnsynced: Bool

        public init(
            mapSize: Int = 1 << 30, maximumTables: Int = 64, maximumReaders: Int = 510,
            isReadOnly: Bool = false, isUnsynced: Bool = false
        ) {
            self.mapSize = mapSize
            self.maximumTables = maximumTables
            self.maximumReaders = maximumReaders
            self.isReadOnly = isReadOnly
            self.isUnsynced = isUnsynced
        }
    }

    struct State {
        /// Transactions that use the map now; it is remapped only when there are none.
        var active = 0
        /// The thread inside `write`, or 0.
        var writer: Int32 = 0
        /// Read transactions that have ended and keep their places among the readers: to begin one
        /// again takes neither liblmdb's lock on the readers nor memory.
        var rested: [UInt] = []
        /// What the file system had room for at the last look, in seconds of the system's clock;
        /// nil: to be looked at again.
        var room: (time: Double, bytes: UInt64)?
    }

    /// The most read transactions that are cached so.
    private static let mostRested = 32

    public let path: String
    #if TIDEMARK_MUTANTS
    /// What fails on purpose.
    let failures: CallFailures?
    #else
    @inline(__always)
    var failures: CallFailures? { nil }
    #endif
    let handle: OpaquePointer
    let state = Mutex(State())

    /// Opens, or creates, the environment in the single file `path` (and `path`-lock).
    public init(path: String, options: Options = Options()) throws(LMDBError) {
        var created: OpaquePointer?
        unsafe try check(mdb_env_create(&created), "create environment", path)
        let handle = unsafe created!
        unsafe FailStop.watch(handle)
        do throws(LMDBError) {
            unsafe try check(mdb_env_set_mapsize(handle, options.mapSize), "set map size", path)
            unsafe try check(
                mdb_env_set_maxdbs(handle, MDB_dbi(options.maximumTables)), "set tables", path)
            unsafe try check(
                mdb_env_set_maxreaders(handle, UInt32(options.maximumReaders)), "set readers", path)
            var flags = UInt32(MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD)
            if options.isReadOnly { flags |= UInt32(MDB_RDONLY) }
            if options.isUnsynced { flags |= UInt32(MDB_NOSYNC) }
            try Environment.prepareLockFile(of: path, readers: options.maximumReaders)
            unsafe try check(
                mdb_env_open(handle, path.hostPath, flags, 0o600), "open environment", path)
            var dead: Int32 = 0
            unsafe try check(mdb_reader_check(handle, &dead), "clear stale readers", path)
        } catch {
            unsafe mdb_env_close(handle)
            throw error
        }
        self.path = path
        #if TIDEMARK_MUTANTS
        failures = CallFailures.registered(for: path)
        #endif
        unsafe self.handle = unsafe handle
    }

    deinit {
        for raw in state.withLock({ $0.rested }) {
            unsafe mdb_txn_abort(OpaquePointer(bitPattern: raw))
        }
        unsafe mdb_env_close(handle)
    }

    // MARK: Transactions

    /// A snapshot of the last commit. It ends when it and all its cursors are gone;
    /// until then no page that it can see is used again, so a long one makes the file grow.
    public func beginRead() throws(LMDBError) -> ReadTransaction {
        if let raw = unsafe beginAgain() {
            return unsafe ReadTransaction(TransactionHandle(self, raw, isWriter: false))
        }
        return unsafe ReadTransaction(
            TransactionHandle(self, try begin(flags: UInt32(MDB_RDONLY)), isWriter: false))
    }

    /// Begins a read transaction that has ended before; nil where there is none.
    private func beginAgain() -> OpaquePointer? {
        let rested: UInt? = state.withLock {
            guard let last = $0.rested.popLast() else { return nil }
            $0.active += 1
            return last
        }
        guard let rested, let raw = unsafe OpaquePointer(bitPattern: rested) else { return nil }
        if unsafe mdb_txn_renew(raw) == MDB_SUCCESS { return unsafe raw }
        // As where another process has grown the map: that is dealt with by a new one.
        unsafe mdb_txn_abort(raw)
        transactionEnded(writer: false)
        return nil
    }

    /// Ends a read transaction.
    func rest(_ raw: OpaquePointer) {
        unsafe mdb_txn_reset(raw)
        let isKept = state.withLock {
            guard $0.rested.count < Environment.mostRested else { return false }
            $0.active -= 1
            $0.rested.append(UInt(bitPattern: raw))
            return true
        }
        guard !isKept else { return }
        unsafe mdb_txn_abort(raw)
        transactionEnded(writer: false)
    }

    /// Runs `body` in the write transaction: a return commits, a throw aborts. Waits
    /// while another thread or process writes.
    public func write<R>(_ body: (inout WriteTransaction) throws -> R) throws -> R {
        let thread = lmdb_shim_thread()
        state.withLock {
            precondition($0.writer != thread, "a write transaction inside a write transaction")
        }
        let raw = unsafe try begin(flags: 0)
        state.withLock { $0.writer = thread }
        var transaction = unsafe WriteTransaction(TransactionHandle(self, raw, isWriter: true))
        do {
            let result = try body(&transaction)
            try transaction.finish(commit: true, thread: thread)
            return result
        } catch {
            try? transaction.finish(commit: false, thread: thread)
            throw error
        }
    }

    func begin(flags: UInt32) throws(LMDBError) -> OpaquePointer {
        if flags == 0 { try failures?.check(.begin, path) }
        state.withLock { $0.active += 1 }
        var raw: OpaquePointer?
        var code = unsafe mdb_txn_begin(handle, nil, flags, &raw)
        if code == MDB_MAP_RESIZED {
            // Another process has grown the map: take its size over, if nobody uses ours.
            let adopted = state.withLock {
                unsafe $0.active == 1 && mdb_env_set_mapsize(handle, 0) == MDB_SUCCESS
            }
            if adopted { code = unsafe mdb_txn_begin(handle, nil, flags, &raw) }
        }
        if code != MDB_SUCCESS {
            transactionEnded(writer: false)
            throw LMDBError(code, "begin transaction", path)
        }
        return unsafe raw!
    }

    func transactionEnded(writer: Bool) {
        state.withLock {
            $0.active -= 1
            precondition($0.active >= 0, "a transaction ended twice")
            if writer { $0.writer = 0 }
        }
    }

    // MARK: The environment as a whole

    /// Opens the table `name`, or creates it.
    /// - Returns: nil where it does not exist and `create` is false.
    public func table(_ name: String, create: Bool) throws -> Table? {
        if create { return try write { try $0.table(name, create: true) } }
        // A handle opened in a read transaction lives on only if that one commits.
        let raw = unsafe try begin(flags: UInt32(MDB_RDONLY))
        defer { transactionEnded(writer: false) }
        var dbi = MDB_dbi()
        let code = unsafe mdb_dbi_open(raw, name, 0, &dbi)
        guard code == MDB_SUCCESS else {
            unsafe mdb_txn_abort(raw)
            if code == MDB_NOTFOUND { return nil }
            throw LMDBError(code, "open table", name)
        }
        unsafe try check(mdb_txn_commit(raw), "open table", name)
        return Table(dbi: dbi, name: name)
    }

    /// The names of all tables, in order.
    package func tableNames() throws -> [String] {
        let raw = unsafe try begin(flags: UInt32(MDB_RDONLY))
        defer { transactionEnded(writer: false) }
        defer { unsafe mdb_txn_abort(raw) }
        var tables = MDB_dbi(), cursor: OpaquePointer?
        unsafe try check(mdb_dbi_open(raw, nil, 0, &tables), "list tables", path)
        unsafe try check(mdb_cursor_open(raw, tables, &cursor), "list tables", path)
        defer { unsafe mdb_cursor_close(cursor) }
        var names: [String] = []
        var key = unsafe MDB_val(), value = unsafe MDB_val()
        var code = unsafe mdb_cursor_get(cursor, &key, &value, MDB_FIRST)
        while code == MDB_SUCCESS {
            let bytes = unsafe UnsafeRawBufferPointer(start: key.mv_data, count: key.mv_size)
            names.append(unsafe String(decoding: bytes, as: UTF8.self))
            code = unsafe mdb_cursor_get(cursor, &key, &value, MDB_NEXT)
        }
        guard code == MDB_NOTFOUND else { throw LMDBError(code, "list tables", path) }
        return names
    }

    /// Makes the map `size` bytes large.
    /// - Returns: false where transactions use the map now: try again when they have ended.
    public func grow(to size: Int) throws(LMDBError) -> Bool {
        let code: Int32? = state.withLock {
            $0.active == 0 ? unsafe mdb_env_set_mapsize(handle, size) : nil
        }
        guard let code else { return false }
        try check(code, "grow map", path)
        return true
    }

    /// Waits until all that was committed is on the disk.
    public func sync() throws(LMDBError) {
        try failures?.check(.sync, path)
        unsafe try check(mdb_env_sync(handle, 1), "sync", path)
    }

    /// The number of the last commit, or of a newer one that is about to be seen by readers. Not
    /// to be asked for while the map may be made larger: it is read there.
    public var lastCommit: UInt64 {
        var info = unsafe MDB_envinfo()
        unsafe mdb_env_info(handle, &info)
        return UInt64(unsafe info.me_last_txnid)
    }

    /// The size of a page, the longest key, and how much of the map is in use.
    public var statistics: EnvironmentStatistics {
        var info = unsafe MDB_envinfo()
        var stat = MDB_stat()
        unsafe mdb_env_info(handle, &info)
        unsafe mdb_env_stat(handle, &stat)
        return unsafe EnvironmentStatistics(
            pageSize: Int(stat.ms_psize), maximumKeySize: Int(mdb_env_get_maxkeysize(handle)),
            mapSize: info.me_mapsize, usedBytes: (info.me_last_pgno + 1) * Int(stat.ms_psize),
            lastTransaction: UInt64(info.me_last_txnid))
    }
}

public struct EnvironmentStatistics: Sendable {
    /// Bytes.
    public let pageSize: Int
    /// Bytes: 511 as liblmdb is usually built.
    public let maximumKeySize: Int
    /// Bytes.
    public let mapSize: Int
    /// Bytes up to the last page in use, free pages before it included.
    public let usedBytes: Int
    /// The number of the last commit.
    public let lastTransaction: UInt64
}

/// A handle on one table, good for the life of its environment.
public struct Table: Hashable, Sendable {
    let dbi: UInt32
    public let name: String
}

/// Size and shape of one table.
public struct TableStatistics: Hashable, Sendable {
    public let entries, depth, branchPages, leafPages, overflowPages: Int
    public var pages: Int { branchPages + leafPages + overflowPages }
}
