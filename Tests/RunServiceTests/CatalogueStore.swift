// A store that is no volume: the catalogue, with a directory for its socket and side files. It
// keeps no runs.

import Bytes
import Catalogue
import Control
import Foundation
import RunService
import Tidemark

final class CatalogueStore: RunStore {
    let catalogue = Catalogue()
    let path: String

    /// Filled with `count` records.
    init(_ directory: String, count: UInt64 = 2000) throws {
        path = directory
        for item in 0..<count {
            try catalogue.transaction { transaction in
                transaction.set(
                    Tagging(item: item, tag: [UInt8(item % 7)]), weight: UInt32(item % 5))
            }
        }
    }

    var temporaryDirectory: String { path }
    var identity: (UInt64, UInt64) { (1, 2) }
    func sideFilePath(run: UInt64) -> String { "\(path)/run-\(run).mdb" }
    func lastCommit() throws -> UInt64 { try catalogue.snapshot().commit }

    func scope(_ words: String) throws -> Scope {
        throw ControlRefusal("noScope", "a catalogue has no part called \(words)")
    }

    // The owner.
    var label: String { catalogue.label }
    var indexes: [any SecondaryIndex] { catalogue.indexes }
    func snapshot() throws -> any OwnerSnapshot { try catalogue.snapshot() }
    func makeDurable() throws { catalogue.makeDurable() }

    func atCommitBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R { try catalogue.atCommitBoundary(body) }
}
