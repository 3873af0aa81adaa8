// swift-tools-version: 6.3
// SPDX-License-Identifier: MIT

import PackageDescription

/// The importer's view: a package of its own that uses each product.
let products = [
    "XenRing", "XenExploration", "XenInterface", "XenBus", "XenStore", "XenHypervisor", "XenChannels", "XenChannelIO",
    "XenRingChecker",
]

let package = Package(
    name: "importer",
    platforms: [.macOS(.v26)],
    dependencies: [.package(name: "swift-xen-channels", path: "../..")],
    targets: [
        .executableTarget(
            name: "Importer",
            dependencies: products.map { .product(name: $0, package: "swift-xen-channels") },
            swiftSettings: [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]
        )
    ]
)
