// PostgreSQL's CREATE INDEX CONCURRENTLY over the same rows: the well-known way to build an
// index beside writers.
//
// A cluster of its own in the work directory, reached through a Unix socket only, with the
// settings that PostgreSQL comes with. The rows are loaded by COPY in the order of the
// extents table and vacuumed, so that the index build finds hint bits set and need not write
// the table; a checkpoint comes before each build.

internal import Foundation

final class Postgres {
    private let directory: String
    private let sockets: String
    private let binaries: String
    private(set) var version = ""
    private let server = Process()

    static let indexSQL = "CREATE INDEX CONCURRENTLY by_block ON extents (start, owner, fork, off)"

    /// Makes and starts a cluster in `directory`, which must not exist.
    init(directory: String) throws {
        self.directory = directory
        binaries = try Postgres.findBinaries()
        sockets = "/tmp/bench-pg-\(getpid())"
        for path in [directory, sockets] {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: false)
            if geteuid() == 0 { _ = try Subprocess.run(["chown", "postgres", path]) }
        }
        _ = try call([
            "initdb", "--no-sync", "-A", "trust", "-U", "bench", "-D", directory + "/data",
        ])
        try start()
        version = try query("SHOW server_version")
    }

    /// The server is a child of ours, not a daemon: it would inherit what tells Foundation
    /// of a child's end.
    private func start() throws {
        let settings = ["-c", "listen_addresses=", "-c", "unix_socket_directories=\(sockets)"]
        let command = asServer([binaries + "/postgres", "-D", directory + "/data"] + settings)
        server.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        server.arguments = command
        server.standardInput = FileHandle.nullDevice
        server.standardOutput = FileHandle.nullDevice
        server.standardError = FileHandle.nullDevice
        try server.run()
        for _ in 0..<300 where server.isRunning {
            if (try? call(["pg_isready", "-q", "-h", sockets])) != nil { return }
            Thread.sleep(forTimeInterval: 0.1)
        }
        throw BenchError("PostgreSQL did not start in \(directory)")
    }

    func stop() {
        _ = try? call(["pg_ctl", "stop", "-s", "-m", "immediate", "-D", directory + "/data"])
        server.waitUntilExit()
        try? FileManager.default.removeItem(atPath: directory)
        try? FileManager.default.removeItem(atPath: sockets)
    }

    /// The settings that matter, as they are.
    var settings: String {
        let names = [
            "shared_buffers", "maintenance_work_mem", "max_parallel_maintenance_workers", "fsync",
        ]
        return names.map { name in
            "\(name) \((try? query("SHOW \(name)")) ?? "unknown")"
        }.joined(separator: ", ")
    }

    /// Loads the rows that `file` holds in COPY's text format.
    func load(_ file: URL) throws {
        _ = try query(
            "DROP TABLE IF EXISTS extents; CREATE TABLE extents (start bigint, owner bigint, "
                + "fork smallint, off bigint, len int, state smallint)")
        _ = try psql(["-c", "COPY extents FROM STDIN"], input: file)
        _ = try query("VACUUM (ANALYZE) extents")
    }

    /// Builds the index. Returns seconds, as psql tells them.
    func createIndex(memory: String? = nil) throws -> Double {
        _ = try query("DROP INDEX IF EXISTS by_block")
        _ = try query("CHECKPOINT")
        let setting = memory.map { ["-c", "SET maintenance_work_mem = '\($0)'"] } ?? []
        let output = try psql(setting + ["-c", "\\timing on", "-c", Postgres.indexSQL])
        guard let line = output.split(separator: "\n").last(where: { $0.hasPrefix("Time: ") }),
            let milliseconds = Double(line.dropFirst(6).prefix { $0.isNumber || $0 == "." })
        else { throw BenchError("psql told no time: \(output)") }
        return milliseconds / 1000
    }

    private func query(_ sql: String) throws -> String {
        try psql(["-c", sql]).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private func psql(_ arguments: [String], input: URL? = nil) throws -> String {
        let fixed = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        let options = [
            "-d",
            "host=\(sockets) user=bench dbname=postgres "
                + "options='-c client_min_messages=warning'",
        ]
        return try call(fixed + options + arguments, input: input)
    }

    /// The server refuses to be run by root: then it is run by `postgres`.
    private func call(_ command: [String], input: URL? = nil) throws -> String {
        let path = [binaries + "/" + command[0]] + command.dropFirst()
        return try Subprocess.run(asServer(path), input: input)
    }

    private func asServer(_ command: [String]) -> [String] {
        (geteuid() == 0 ? ["runuser", "-u", "postgres", "--"] : []) + command
    }

    private static func findBinaries() throws -> String {
        let root = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        let found = versions.filter {
            FileManager.default.isExecutableFile(atPath: "\(root)/\($0)/bin/initdb")
        }
        guard let version = found.contains("15") ? "15" : found.max() else {
            throw BenchError("no PostgreSQL in \(root): install the package `postgresql`")
        }
        return "\(root)/\(version)/bin"
    }
}
