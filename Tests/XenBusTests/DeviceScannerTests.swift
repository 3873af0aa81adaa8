// SPDX-License-Identifier: MIT

import Testing
import XenBus
import XenInterface

struct DeviceScannerTests {
    private let guest = DomainID(7)
    private let root = DevicePaths.frontends(of: DomainID(7))
    private func key(_ device: UInt32) -> DeviceKey { DeviceKey(frontend: guest, device: DeviceID(device)) }

    private func started() -> DeviceScanner {
        var scanner = DeviceScanner(frontend: guest, token: "s")
        #expect(scanner.handle(.start) == [.store(.watch(root, token: "s"), in: .none)])
        #expect(scanner.handle(.reply(.done)) == [])
        return scanner
    }

    private func list(_ scanner: inout DeviceScanner, at path: StorePath, _ names: [String]) -> [DeviceScanner.Action] {
        #expect(scanner.handle(.changed(path)).last == .store(.directory(root), in: .none))
        return scanner.handle(.reply(.children(names)))
    }

    @Test func `names that are no device's number as we write it are passed over (R8)`() {
        var scanner = started()
        let found = list(&scanner, at: root, ["2", "01", "-1", "x", "4294967296", "12", ""])
        #expect(found == [.appeared(key(2)), .appeared(key(12))])
        #expect(DevicePaths.domain(named: "07") == nil)
        #expect(DevicePaths.domain(named: "32752") == nil)
        #expect(DevicePaths.device(named: "7") == DeviceID(7))
    }

    @Test func `a device vanishes once its directory does, and comes back after its machine is done`() {
        var scanner = started()
        _ = list(&scanner, at: root, ["1"])
        let directory = root.appending("1")
        #expect(scanner.handle(.changed(directory.appending("state"))) == [.changed(key(1), .state)])
        #expect(scanner.handle(.changed(directory.appending("backend"))) == [.changed(key(1), .other)])
        #expect(list(&scanner, at: directory, []) == [.vanished(key(1))])
        #expect(list(&scanner, at: directory, ["1"]) == [])
        #expect(scanner.handle(.forget(key(1))) == [.store(.directory(root), in: .none)])
        #expect(scanner.handle(.reply(.children(["1"]))) == [.appeared(key(1))])
    }

    @Test func `what a side writes for the other says nothing to itself`() {
        var scanner = started()
        _ = list(&scanner, at: root, ["1"])
        let directory = root.appending("1")
        #expect(scanner.handle(.changed(directory.appending("ring-ref"))) == [])
        #expect(scanner.handle(.changed(directory.appending("port"))) == [])
        #expect(scanner.handle(.changed(directory.appending("hotplug-status"))) == [.changed(key(1), .other)])
        var driver = DeviceScanner(backend: .dom0, token: "s")
        _ = driver.handle(.start)
        _ = driver.handle(.reply(.done))
        _ = driver.handle(.changed(driver.root.appending("7")))
        #expect(driver.handle(.reply(.children(["1"]))) == [.appeared(key(1))])
        let own = driver.root.appending("7/1")
        #expect(driver.handle(.changed(own.appending("hotplug-status"))) == [])
        #expect(driver.handle(.changed(own.appending("port"))) == [.changed(key(1), .other)])
        #expect(driver.handle(.changed(own.appending("online"))) == [.changed(key(1), .other)])
    }

    @Test func `a machine that ended by itself begins again only for a directory made anew`() {
        var scanner = started()
        _ = list(&scanner, at: root, ["1"])
        #expect(scanner.handle(.forget(key(1))) == [])
        #expect(list(&scanner, at: root.appending("1/state"), ["1"]) == [])
        #expect(list(&scanner, at: root.appending("1"), ["1"]) == [.appeared(key(1))])
    }

    @Test func `a long listing is read in parts, and anew if it changes meanwhile (D20)`() {
        var scanner = started()
        _ = scanner.handle(.changed(root))
        #expect(scanner.handle(.reply(.failure(.tooBig))) == [.store(.directoryPart(root, offset: 0), in: .none)])
        let next = scanner.handle(.reply(.part(generation: 5, children: ["1", "12"], isLast: false)))
        #expect(next == [.store(.directoryPart(root, offset: 5), in: .none)])
        let again = scanner.handle(.reply(.part(generation: 6, children: ["13"], isLast: true)))
        #expect(again == [.store(.directory(root), in: .none)])
        _ = scanner.handle(.reply(.failure(.tooBig)))
        _ = scanner.handle(.reply(.part(generation: 6, children: ["1", "12"], isLast: false)))
        let found = scanner.handle(.reply(.part(generation: 6, children: ["13"], isLast: true)))
        #expect(found == [.appeared(key(1)), .appeared(key(12)), .appeared(key(13))])
    }

    @Test func `a store whose listing never gets on is given up`() {
        var scanner = started()
        _ = scanner.handle(.changed(root))
        _ = scanner.handle(.reply(.failure(.tooBig)))
        let end = scanner.handle(.reply(.part(generation: 5, children: [], isLast: false)))
        let later = DeviceScanner.Action.startTimer(DeviceScanner.retryInterval)
        #expect(end == [.report(DeviceDiagnostic(root, .refused(.tooBig))), later])
    }

    @Test func `what is found once it is stopped is not announced, and its watch goes`() {
        var scanner = started()
        _ = scanner.handle(.changed(root))
        #expect(scanner.handle(.stop) == [])
        let end = scanner.handle(.reply(.children(["1"])))
        #expect(end == [.store(.unwatch(root, token: "s"), in: .none)])
        #expect(scanner.handle(.reply(.failure(.noEntry))) == [.finished])
        #expect(scanner.handle(.changed(root)) == [])
    }

    @Test func `a listing that the store refuses is asked for again, and reported seldom`() {
        var scanner = started()
        let again = DeviceScanner.Action.startTimer(DeviceScanner.retryInterval)
        let report = DeviceScanner.Action.report(DeviceDiagnostic(root, .refused(.accessDenied)))
        _ = scanner.handle(.changed(root))
        #expect(scanner.handle(.reply(.failure(.accessDenied))) == [report, again])
        var reports = 1
        for _ in 1..<1000 {
            #expect(scanner.handle(.timeout) == [.store(.directory(root), in: .none)])
            let actions = scanner.handle(.reply(.failure(.accessDenied)))
            #expect(actions.contains(again))
            reports += actions.count(where: { $0 == report })
        }
        #expect(reports == 14)
        _ = scanner.handle(.timeout)
        #expect(scanner.handle(.reply(.children(["3"]))) == [.appeared(key(3))])
        #expect(scanner.handle(.timeout) == [])
    }

    @Test func `a watch that the store refuses is asked for again, or nothing would ever be found`() {
        var scanner = DeviceScanner(frontend: guest, token: "s")
        let watch = scanner.handle(.start)
        #expect(scanner.handle(.reply(.failure(.quota))).last == .startTimer(DeviceScanner.retryInterval))
        #expect(scanner.handle(.timeout) == watch)
        #expect(scanner.handle(.reply(.done)) == [])
    }

    @Test func `one that is stopped asks for nothing again, and stops its timer`() {
        var scanner = started()
        _ = scanner.handle(.changed(root))
        _ = scanner.handle(.reply(.failure(.accessDenied)))
        #expect(scanner.handle(.stop) == [.stopTimer, .store(.unwatch(root, token: "s"), in: .none)])
        #expect(scanner.handle(.timeout) == [])
    }

    @Test func `numbers with gaps are found in any order (B36)`() {
        var scanner = started()
        let found = list(&scanner, at: root, ["40", "3", "4294967295"])
        #expect(found == [.appeared(key(40)), .appeared(key(3)), .appeared(key(4_294_967_295))])
    }

    @Test func `changes that come while a listing waits for its turn ask for it once`() {
        var scanner = started()
        _ = scanner.handle(.changed(root))
        for _ in 0..<5 { #expect(scanner.handle(.changed(root)) == []) }
        #expect(scanner.handle(.reply(.children([]))) == [.store(.directory(root), in: .none)])
        #expect(scanner.handle(.reply(.children([]))) == [])
    }

    /// Whatever told of its coming back may name a node below it only.
    @Test func `a device whose machine had ended and that was seen gone is a new one`() {
        var scanner = started()
        _ = list(&scanner, at: root, ["1"])
        _ = scanner.handle(.forget(key(1)))
        #expect(list(&scanner, at: root.appending("9"), []) == [])
        #expect(list(&scanner, at: root.appending("1/state"), ["1"]) == [.appeared(key(1))])
    }

    @Test func `a watch that is refused once nothing is wanted any more starts no timer`() {
        var scanner = DeviceScanner(frontend: guest, token: "s")
        _ = scanner.handle(.start)
        #expect(scanner.handle(.stop) == [])
        let actions = scanner.handle(.reply(.failure(.quota)))
        #expect(actions.last == .store(.unwatch(root, token: "s"), in: .none))
        #expect(!actions.contains(.startTimer(DeviceScanner.retryInterval)))
    }

    @Test func `a listing in parts that never ends is given up, whatever it holds`() {
        var scanner = started()
        _ = scanner.handle(.changed(root))
        _ = scanner.handle(.reply(.failure(.tooBig)))
        let part = [String(repeating: "1", count: 1 << 20)]
        var asked = 0
        for _ in 0..<100 {
            let actions = scanner.handle(.reply(.part(generation: 5, children: part, isLast: false)))
            guard case .store(.directoryPart, _)? = actions.first else { break }
            asked += 1
        }
        #expect(asked == 16)
    }

    /// A driver domain's scanner: the guests, then the devices of each.
    private func driver(_ guests: [String], _ devices: [String: [String]]) -> DeviceScanner {
        var scanner = DeviceScanner(backend: .dom0, token: "s")
        _ = scanner.handle(.start)
        _ = scanner.handle(.reply(.done))
        _ = scanner.handle(.changed(scanner.root))
        _ = scanner.handle(.reply(.children(guests)))
        for guest in guests { _ = scanner.handle(.reply(.children(devices[guest] ?? []))) }
        return scanner
    }

    @Test func `the devices of a guest that is gone with its directory vanish (B27)`() {
        var scanner = driver(["3", "7"], ["3": ["1"], "7": ["1"]])
        #expect(scanner.handle(.changed(scanner.root)) == [.store(.directory(scanner.root), in: .none)])
        #expect(
            scanner.handle(.reply(.children(["3"]))) == [.store(.directory(scanner.root.appending("3")), in: .none)]
        )
        let next = scanner.handle(.reply(.children(["1"])))
        #expect(next == [.store(.directory(scanner.root.appending("7")), in: .none)])
        #expect(scanner.handle(.reply(.failure(.noEntry))) == [.vanished(key(1))])
    }

    @Test(arguments: ["", "7"])
    func `a directory above that was made anew may have made devices anew whose machines had ended`(above: String) {
        var scanner = driver(["7"], ["7": ["1"]])
        _ = scanner.handle(.forget(key(1)))
        _ = scanner.handle(.changed(above.isEmpty ? scanner.root : scanner.root.appending(above)))
        if above.isEmpty { _ = scanner.handle(.reply(.children(["7"]))) }
        #expect(scanner.handle(.reply(.children(["1"]))) == [.appeared(key(1))])
    }
}
