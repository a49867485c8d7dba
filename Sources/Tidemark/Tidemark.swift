// The framework under one name: what an adopter imports.
//
// The layers below are targets, so that the compiler keeps their direction. What of them is
// public is the framework's API; Docs/architecture.md draws them.

@_exported public import Contract
@_exported public import Driver
@_exported public import Engine
@_exported public import Entries
@_exported public import Feed
@_exported public import Mutation
@_exported public import Shadow
@_exported public import SideFile
