// A mount of a volume, as far as a report of its runs needs it.

public import RunService
public import VolumeMount

extension MountedVolume: MountedStore {}
