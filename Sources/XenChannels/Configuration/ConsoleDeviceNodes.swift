// SPDX-License-Identifier: MIT

import XenBus
import XenInterface

/// The three directories of a console device (B9 to B11), and the steps that fill them.
struct ConsoleDeviceNodes {
    /// `vt100`: the only protocol there is.
    static let protocolName: StoreValue = "vt100"
    /// How much a backend shall buffer when its reader is slow, in bytes (A28).
    static let limit: StoreValue = "1048576"

    let paths: DevicePaths
    let frontend: StorePath
    let backend: StorePath

    init(domain: DomainID, device: DeviceID, backendDomain: DomainID) {
        paths = DevicePaths(frontend: domain, backend: backendDomain, device: device)
        (frontend, backend) = (paths.frontend, paths.backend)
    }

    var toolstack: StorePath { paths.toolstack }
    private var domain: DomainID { paths.frontendDomain }
    private var backendDomain: DomainID { paths.backendDomain }

    /// What the guest may write (R1).
    var guestOwned: StorePermissions { .owned(by: domain, readableBy: backendDomain) }

    /// What the guest may only read (R1, R2).
    var backendOwned: StorePermissions { .owned(by: backendDomain, readableBy: domain) }

    /// The whole of a device in libxl's order: the copy's two links, the frontend, the backend, the rest of the copy (R4).
    func creation(frontend frontendSteps: [StoreStep], backend backendKeys: [(String, StoreValue)]) -> [StoreStep] {
        let (frontendPath, backendPath) = (StoreValue(frontend.text), StoreValue(backend.text))
        var steps: [StoreStep] = [
            StoreStep(.remove(toolstack), tolerating: [.noEntry]),
            StoreStep(.write(toolstack.appending("frontend"), frontendPath)),
            StoreStep(.write(toolstack.appending("backend"), backendPath)),
        ]
        steps += directory(frontend, paths.device == .primaryConsole ? backendOwned : guestOwned)
        steps.append(StoreStep(.write(frontend.appending("backend"), backendPath)))
        steps += frontendSteps
        steps += directory(backend, backendOwned)
        steps.append(StoreStep(.write(backend.appending("frontend"), frontendPath)))
        steps += backendKeys.map { StoreStep(.write(backend.appending($0.0), $0.1)) }
        steps += backendKeys.map { StoreStep(.write(toolstack.appending($0.0), $0.1)) }
        return steps
    }

    /// Keys of the backend that every console has.
    var commonBackendKeys: [(String, StoreValue)] {
        [
            ("frontend-id", StoreValue(decimal: domain.rawValue)), ("online", "1"),
            ("state", XenbusState.initialising.storeValue), ("protocol", ConsoleDeviceNodes.protocolName),
        ]
    }

    /// A node of the frontend and its permissions.
    func key(_ name: String, _ value: StoreValue, _ permissions: StorePermissions) -> [StoreStep] {
        let path = frontend.appending(name)
        return [StoreStep(.write(path, value)), StoreStep(.setPermissions(path, permissions))]
    }

    private func directory(_ path: StorePath, _ permissions: StorePermissions) -> [StoreStep] {
        [
            StoreStep(.remove(path), tolerating: [.noEntry]),
            StoreStep(.makeDirectory(path)),
            StoreStep(.setPermissions(path, permissions)),
        ]
    }
}

extension StorePath {
    /// `/libxl/$DOMID`: what the toolstack keeps about a domain, out of the domain's reach.
    static func toolstack(_ domain: DomainID) -> StorePath {
        StorePath.root.appending("libxl").appending(domain.description)
    }
}
