// Asking the process that serves a volume.

internal import Control
internal import RunService
internal import Volume

/// Asks once.
/// - Throws: `VolumeError` where `path` is no volume; else `ControlError`.
func ask<Argument, Answer>(
    _ path: String, _ verb: ControlVerb<Argument, Answer>, _ argument: Argument
) throws -> Answer {
    let path = volumePath(path)
    do {
        var client = try ControlClient(folder: path)
        return try client.ask(verb, argument)
    } catch ControlError.notServed {
        try Volume.checkIsVolume(path)
        throw ControlError.notServed(path)
    }
}

/// What is at work on the volume; nil where no process serves it.
func liveStatus(_ path: String) throws -> LiveStatus? {
    do {
        return try ask(path, RunVerbs.status, Nothing())
    } catch ControlError.notServed {
        return nil
    }
}
