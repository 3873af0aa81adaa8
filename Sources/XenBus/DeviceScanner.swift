// SPDX-License-Identifier: MIT

public import XenInterface

/// Which device of which guest: what one finds a device by.
public struct DeviceKey: Hashable, Sendable {
    /// The guest.
    public let frontend: DomainID
    /// The device's number within the guest.
    public let device: DeviceID

    /// Names a device.
    public init(frontend: DomainID, device: DeviceID) {
        self.frontend = frontend
        self.device = device
    }

    /// Hashes both as one number, which costs less: a world looks for devices by it all the time.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(UInt64(frontend.rawValue) << 32 | UInt64(device.rawValue))
    }
}

/// Finds devices as their directories come and go, as a machine: one watch, and listings of what changed.
///
/// It serves both sides: a guest looks below its `device/console`, a driver domain below its `backend/console`, where each guest has a
/// directory of its own. A device that vanished and came back is announced again only when `forget` says that its first life is over;
/// one whose machine ended by itself is announced again only when its directory was made anew in between.
public struct DeviceScanner: Hashable, Sendable {
    /// What happens to the machine.
    public enum Event: Hashable, Sendable {
        /// The first event, once.
        case start
        /// The store's reply to the last `.store` action.
        case reply(StoreReply)
        /// The watch fired for this path.
        case changed(StorePath)
        /// The machine of a device that had vanished, or that ended by itself, is done.
        case forget(DeviceKey)
        /// The timer ran out.
        case timeout
        /// No more devices are wanted: the watch is dropped.
        case stop
    }

    /// What the machine asks of the world.
    public enum Action: Hashable, Sendable {
        /// Send a request; its reply is an event. Never more than one at a time.
        case store(StoreRequest, in: StoreTransactionID)
        /// A device's directory was found: make its machine.
        case appeared(DeviceKey)
        /// A node of a known device changed that its machine has to do with, or its directory was made anew.
        case changed(DeviceKey, OwnChange)
        /// A known device's directory is gone, or was; may be said more than once.
        case vanished(DeviceKey)
        /// The store refused the watch or a listing; it is asked again when the timer runs out.
        case report(DeviceDiagnostic)
        /// Send `.timeout` after this time, unless stopped or started anew.
        case startTimer(Duration)
        /// Forget the timer.
        case stopTimer
        /// The watch is dropped.
        case finished
    }

    /// What is known of a device.
    enum Life: Hashable {
        /// Its directory is there, and its machine runs.
        case running
        /// Its directory is there; its machine ended by itself.
        case ended
        /// Its directory is gone, or was; its machine still runs.
        case leaving
    }

    enum Listing: Hashable {
        case guests
        case devices(of: DomainID)
    }

    enum Task: Hashable {
        case watching
        case listing(Listing)
        /// A listing too long for one message: what is known so far (D20).
        case listingPart(Listing, names: [String], offset: UInt32, generation: UInt64?)
        case unwatching
    }

    /// The directory above all devices.
    public let root: StorePath
    /// The token of its watch; unique among the watches of the connection.
    public let token: String
    let guest: DomainID?
    var task: Task?
    var mustWatch = false
    var queue: [Listing] = []
    /// What the store refused, to be asked for again; `watching` stands for the watch.
    var refused: [Task] = []
    var reports = ReportBudget()
    var known: [DeviceKey: Life] = [:]
    var isStopping = false
    private var hasUnwatched = false

    /// How long after a refusal the store is asked again.
    public static let retryInterval = Duration.seconds(5)

    /// Looks for the channels of one guest, from within.
    public init(frontend: DomainID, token: String) {
        root = DevicePaths.frontends(of: frontend)
        guest = frontend
        self.token = token
    }

    /// Looks for all devices that a driver domain is to serve.
    public init(backend: DomainID, token: String) {
        root = DevicePaths.backends(in: backend)
        guest = nil
        self.token = token
    }

    /// Takes an event and asks for what follows from it.
    public mutating func handle(_ event: Event, into actions: inout ActionList<Action>) {
        switch event {
        case .start:
            mustWatch = true
        case .reply(let reply):
            finish(reply, into: &actions)
        case .changed(let path):
            note(path, into: &actions)
        case .forget(let key):
            if known[key] == .running {
                known[key] = .ended
            } else {
                known[key] = nil
                enqueue(.devices(of: key.frontend))
            }
        case .timeout:
            retry()
        case .stop:
            isStopping = true
            mustWatch = false
            queue.removeAll()
            if !refused.isEmpty { actions.append(.stopTimer) }
            refused.removeAll()
        }
        next(into: &actions)
    }

    /// Takes an event and returns what follows from it: for tests.
    public mutating func handle(_ event: Event) -> [Action] {
        var actions = ActionList<Action>()
        handle(event, into: &actions)
        return actions.all()
    }

    private mutating func note(_ path: StorePath, into actions: inout ActionList<Action>) {
        let names = names(in: path)
        guard names.count > 0 else {
            forgetEnded { _ in true }
            return enqueue(.guests)
        }
        guard let domain = names.domain, domain.isValid else { return }
        guard names.count > 1 else {
            forgetEnded { $0.frontend == domain }
            return enqueue(.devices(of: domain))
        }
        // What a side writes for the other says nothing to itself.
        guard let device = names.device, names.node != .offered else { return }
        let key = DeviceKey(frontend: domain, device: device)
        let life = known[key]
        if life == .running || life == .leaving {
            actions.append(.changed(key, names.node == .state ? .state : .other))
            if names.count > 2 { return }
        }
        if names.count == 2, life == .ended {
            // Removed, and perhaps made anew since: the listing tells.
            known[key] = nil
        }
        enqueue(.devices(of: domain))
    }

    /// A directory above changed: those below whose machines ended may have been made anew.
    private mutating func forgetEnded(_ isBelow: (DeviceKey) -> Bool) {
        known = known.filter { key, life in life != .ended || !isBelow(key) }
    }

    mutating func enqueue(_ listing: Listing) {
        if !isStopping, !queue.contains(listing) {
            queue.append(listing)
        }
    }

    private mutating func next(into actions: inout ActionList<Action>) {
        guard task == nil else { return }
        if mustWatch {
            mustWatch = false
            task = .watching
            actions.append(.store(.watch(root, token: token), in: .none))
        } else if !queue.isEmpty {
            let listing = queue.removeFirst()
            task = .listing(listing)
            actions.append(.store(.directory(directory(of: listing)), in: .none))
        } else if isStopping, !hasUnwatched {
            hasUnwatched = true
            task = .unwatching
            actions.append(.store(.unwatch(root, token: token), in: .none))
        }
    }
}
