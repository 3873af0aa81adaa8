// swift-tools-version: 6.3
// SPDX-License-Identifier: MIT

import PackageDescription

/// Strict everywhere: unsafe operations are marked, existentials are spelled out, warnings do not pass.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    .enableUpcomingFeature("InferIsolatedConformances"),
    .enableUpcomingFeature("ImmutableWeakCaptures"),
]

/// The floors of the house, from the ground up. A module imports only what stands below it, and
/// `Tests/HouseTests` holds this table against the `import` lines of the sources.
let floors: [(module: String, imports: [String])] = [
    ("XenRing", []),
    ("XenExploration", []),
    ("XenInterface", []),
    ("XenBus", ["XenInterface"]),
    ("XenStore", ["XenInterface", "XenRing"]),
    ("XenHypervisor", ["XenInterface"]),
    ("XenChannels", ["XenBus", "XenInterface", "XenRing"]),
    (
        "XenSimulator",
        ["XenBus", "XenChannels", "XenExploration", "XenHypervisor", "XenInterface", "XenRing", "XenStore"]
    ),
    (
        "XenChannelIO",
        ["XenBus", "XenChannels", "XenHypervisor", "XenInterface", "XenRing", "XenStore"]
    ),
    ("XenRingChecker", ["XenExploration", "XenRing"]),
]

/// What the tests of a module use beyond what the module itself may import.
let extraForTests: [String: [String]] = [
    "XenChannels": ["XenHypervisor", "XenStore"]
]

let libraries = floors.map(\.module)

let package = Package(
    name: "swift-xen-channels",
    platforms: [.macOS(.v26)],
    products: libraries.map { .library(name: $0, targets: [$0]) } + [
        .executable(name: "xenchan", targets: ["xenchan"])
    ],
    targets: floors.map { module, imports in
        .target(name: module, dependencies: imports.map { .byName(name: $0) }, swiftSettings: strict)
    } + [
        .executableTarget(
            name: "xenchan",
            dependencies: libraries.map { .byName(name: $0) },
            swiftSettings: strict
        ),
        .executableTarget(
            name: "Benchmarks",
            dependencies: libraries.map { .byName(name: $0) },
            path: "Benchmarks",
            swiftSettings: strict
        ),
        // Reading recorded data and reporting properties, for tests only.
        .target(
            name: "TestSupport",
            dependencies: ["XenExploration"],
            path: "Tests/TestSupport",
            swiftSettings: strict
        ),
        // Compares the store with a real xenstored; run by hand.
        .executableTarget(
            name: "StoreDifferential",
            dependencies: ["XenInterface", "XenRing", "XenStore"],
            path: "Tests/StoreDifferential",
            swiftSettings: strict
        ),
        .testTarget(name: "HouseTests", dependencies: ["TestSupport"], swiftSettings: strict),
    ]
        + floors.map { module, imports in
            .testTarget(
                name: "\(module)Tests",
                dependencies: ([module, "TestSupport", "XenExploration"] + imports + (extraForTests[module] ?? []))
                    .uniqued().map { .byName(name: $0) },
                swiftSettings: strict
            )
        }
)

extension [String] {
    func uniqued() -> [String] {
        reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }
}
