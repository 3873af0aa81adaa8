// SPDX-License-Identifier: MIT

import TestSupport
import Testing
import XenBus
import XenChannels
import XenInterface

/// What the real xl did with one specification.
private struct RecordedOutcome {
    var text: String
    /// What it said while it read the configuration: warnings, then perhaps an error.
    var messages: [String] = []
    /// What libxl said later about the channel.
    var libxlMessages: [String] = []
    var exitCodes: [String] = []
    /// The channel as xl understood it, in its JSON.
    var channel: Substring?
    /// The frontend's nodes as listed, by the last component.
    var nodes: [String: String] = [:]
    var listing: [String] = []
    var chardev: String?
    var domain: UInt16 = 0
}

private func recordedOutcomes() throws -> [RecordedOutcome] {
    var outcomes: [RecordedOutcome] = []
    for line in try Fixture("xl-cfg/xl-channel-spec-behaviour.txt").lines() {
        if line.hasPrefix("################ only") { break }
        if line.hasPrefix("################ spec"), let quote = line.firstIndex(of: "\"") {
            outcomes.append(RecordedOutcome(text: String(line[line.index(after: quote)...].dropLast())))
        } else if !outcomes.isEmpty {
            outcomes[outcomes.count - 1].take(line)
        }
    }
    return outcomes
}

extension RecordedOutcome {
    mutating func take(_ line: String) {
        if let said = line.wholeMatch(of: /stderr: (.*?)(exit code (\d+))?/) {
            if let code = said.3 { exitCodes.append(String(code)) }
            if let libxl = said.1.wholeMatch(of: /libxl: error: .*?: (channel .*)/) {
                libxlMessages.append(String(libxl.1))
            } else if exitCodes.count == (said.3 == nil ? 0 : 1), !said.1.hasPrefix("Parsing") {
                messages.append(String(said.1))
            }
        } else if let code = line.wholeMatch(of: /exit code (\d+)/) {
            exitCodes.append(String(code.1))
        } else if let json = line.wholeMatch(of: /json channels: \[\{.*?\}\}, (.*)\]/) {
            channel = json.1
        } else if let node = line.wholeMatch(of: /\/local\/domain\/(\d+)\/device\/console\/1(?:\/(.*?))? = (.*)/) {
            domain = UInt16(node.1) ?? 0
            nodes[String(node.2 ?? "")] = String(node.3)
        } else if line.hasPrefix("Idx") || line.hasPrefix("0 ") {
            listing.append(line)
        } else if line.hasPrefix("-chardev"), line.contains("channel1") {
            chardev = line
        }
    }

    /// xl's JSON for a specification.
    static func json(_ specification: ChannelSpecification) -> String {
        var fields: [String] = []
        if let backend = specification.backend { fields.append("\"backend_domname\": \"\(backend)\"") }
        fields.append("\"devid\": 1")
        if let name = specification.name { fields.append("\"name\": \"\(name)\"") }
        switch specification.connection {
        case .pty: fields.append("\"connection.pty\": {}")
        case .socket(let path): fields.append("\"connection.socket\": {\"path\": \"\(path)\"}")
        }
        return "{" + fields.joined(separator: ", ") + "}"
    }
}

struct ChannelSpecificationTests {
    @Test func `every recorded specification has an outcome to compare with`() throws {
        let texts = try Fixture("xl-cfg/specs.txt").lines().dropLast()
        #expect(try recordedOutcomes().map(\.text) == Array(texts))
    }

    @Test func `every recorded specification has xl's outcome and messages (R20)`() throws {
        for outcome in try recordedOutcomes() {
            let parsed = ChannelSpecification.parse(outcome.text)
            let warnings = parsed.warnings.map(\.description)
            switch parsed.result {
            case .success(let specification):
                #expect(outcome.exitCodes.first == "0", "\(outcome.text)")
                #expect(warnings == outcome.messages, "\(outcome.text)")
                #expect(RecordedOutcome.json(specification) == outcome.channel ?? "", "\(outcome.text)")
            case .failure(.empty):
                // xl crashes here.
                #expect(outcome.text.isEmpty && outcome.exitCodes == ["139"])
            case .failure(.conflictingKind(let connection, let kind)):
                // xl 4.17 knows no `kind`; the contradiction is ours to refuse.
                #expect(connection == "pty" && kind == "socket")
                #expect(outcome.messages == ["unknown channel parameter 'kind', ignoring"])
            case .failure(let error):
                #expect(outcome.exitCodes == ["1"], "\(outcome.text)")
                #expect(warnings + [error.description] == outcome.messages, "\(outcome.text)")
            }
        }
    }

    @Test func `what xl refuses later is refused later, in libxl's words (C2, R20)`() throws {
        var failures = 0
        for outcome in try recordedOutcomes() where outcome.exitCodes.count == 2 {
            guard let specification = try? ChannelSpecification(outcome.text) else { continue }
            do throws(ChannelConfigurationError) {
                let channel = try ChannelConfiguration(specification, device: DeviceID(1))
                let isUnusableSocket = outcome.text.contains("/nonexistent/")
                #expect(outcome.exitCodes[1] == (isUnusableSocket ? "3" : "0"), "\(outcome.text)")
                if !isUnusableSocket { compare(channel, with: outcome) }
            } catch {
                failures += 1
                #expect(outcome.exitCodes[1] == "3", "\(outcome.text)")
                if case .noName = error { #expect(outcome.libxlMessages == [error.description]) }
            }
        }
        #expect(failures == 3)
    }

    private func compare(_ channel: ChannelConfiguration, with outcome: RecordedOutcome) {
        let domain = DomainID(outcome.domain)
        var store = ScriptStore()
        store.run(channel.creation(in: domain))
        guard let frontend = StorePath("/local/domain/\(domain)/device/console/1") else { return }
        // The backend fills in the terminal.
        if channel.connection == .pty { _ = store.perform(.write(frontend.appending("tty"), "/dev/pts/3"), in: .none) }
        let listed = store.listing(below: frontend).map {
            ($0.key == frontend.text ? "" : String($0.key.dropFirst(frontend.text.count + 1)), $0.value)
        }
        #expect(Dictionary(listed) { first, _ in first } == outcome.nodes, "\(outcome.text)")
        let listing = Result { () throws(StoreErrorCode) in try ChannelListing(of: domain, readingFrom: &store).text }
        #expect(listing == .success(outcome.listing.joined(separator: "\n") + "\n"), "\(outcome.text)")
        #expect(channel.qemuArguments.joined(separator: " ") == outcome.chardev)
    }

    @Test(arguments: [
        ("name=x,connection=pty,connection=socket,path=/a", "connection=socket,path=/a,name=x"),
        ("connection=socket,path=/a,path=/b,name=y,name=x", "connection=socket,path=/b,name=x"),
        ("kind=socket,path=/p,name=x", "connection=socket,path=/p,name=x"),
        ("kind=pty,connection=pty,name=x", "connection=pty,name=x"),
        ("connection=pty,name= x\t,backend=\u{0B}7\r", "connection=pty,name=x,backend=7"),
        ("==connection==pty==,=name=x", "connection=pty,name=x"),
        (",,connection=pty,,name=a b,,", "connection=pty,name=a b"),
        ("connection=pty,name= ", "connection=pty"),
        ("connection=pty,name=żółw", "connection=pty,name=żółw"),
    ])
    func `what is odd but clear is read`(text: String, meaning: String) throws {
        #expect(try ChannelSpecification(text).text == meaning)
    }

    @Test(arguments: [
        ("", ChannelSpecificationError.empty), (",,,", .empty),
        (" ", .malformedPair(" ")), ("=", .malformedPair("=")), ("name", .malformedPair("name")),
        ("connection=pty,=x", .malformedPair("=x")),
        ("kind=tcp", .unknownConnection("tcp")), ("connection= ", .unknownConnection("")),
        ("connection=PTY", .unknownConnection("PTY")),
        ("connection=tcp,connection=pty", .unknownConnection("tcp")),
        ("path=/p", .missingConnection), ("connection=socket,path= ", .missingPath),
        ("kind=socket,connection=pty", .conflictingKind(connection: "pty", kind: "socket")),
    ])
    func `what is wrong is refused`(text: String, error: ChannelSpecificationError) {
        #expect(throws: error) { try ChannelSpecification(text) }
    }

    @Test(arguments: ["", " ", "a=b", "a,b", "\"a\"", " a", "a\t"])
    func `what a specification cannot say has no text (C1)`(value: String) {
        #expect(ChannelSpecification(name: value, connection: .pty).text == nil)
        #expect(ChannelSpecification(name: "n", connection: .socket(path: value)).text == nil)
        #expect(ChannelSpecification(name: "n", connection: .pty, backend: value).text == nil)
    }

    @Test func `warnings survive an error`() {
        let parsed = ChannelSpecification.parse("foo=1,Bar=2,connection=tcp")
        #expect(parsed.result == .failure(.unknownConnection("tcp")))
        #expect(parsed.warnings == [.unknownParameter("foo"), .unknownParameter("Bar")])
    }

    @Test(arguments: UInt64(1)...20)
    func `what can be written is read back, and no text traps`(seed: UInt64) throws {
        var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
        func below(_ bound: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state % UInt64(bound))
        }
        let words = [
            "connection", "kind", "name", "path", "backend", "pty", "socket", "=", ",", " ", "a", "/p", "\"", "ö", "\0",
        ]
        for _ in 0..<300 {
            let text = (0..<below(12)).map { _ in words[below(words.count)] }.joined()
            let parsed = ChannelSpecification.parse(text)
            guard case .success(let specification) = parsed.result, let canonical = specification.text else { continue }
            #expect(try ChannelSpecification(canonical) == specification, "seed \(seed): \(text)")
        }
        let values = ["a", "/tmp/c.sock", "org.x.0", "a b", "ö"]
        let specification = ChannelSpecification(
            name: values[below(values.count)],
            connection: below(2) == 0 ? .pty : .socket(path: values[below(values.count)]),
            backend: below(2) == 0 ? nil : values[below(values.count)]
        )
        #expect(try ChannelSpecification(#require(specification.text)) == specification)
    }
}

struct ChannelConfigurationTests {
    @Test func `the first channel of a list is device 1 (C4, R18)`() throws {
        let specifications = ["a", "b", "c"].map { ChannelSpecification(name: $0, connection: .pty) }
        let channels = try ChannelConfiguration.list(specifications)
        #expect(channels.map(\.device.rawValue) == [1, 2, 3])
        #expect(channels.map(\.name) == ["a", "b", "c"])
        #expect(throws: ChannelConfigurationError.noName(DeviceID(2))) {
            try ChannelConfiguration.list([specifications[0], ChannelSpecification(name: nil, connection: .pty)])
        }
    }

    @Test func `backends are numbers, or names that somebody knows`() throws {
        func backend(_ text: String?) throws -> DomainID {
            let specification = ChannelSpecification(name: "x", connection: .pty, backend: text)
            return try ChannelConfiguration(specification, device: DeviceID(1)) { $0 == "net" ? DomainID(3) : nil }
                .backend
        }
        #expect(try backend(nil) == .dom0)
        #expect(try backend("7") == DomainID(7))
        #expect(try backend("net") == DomainID(3))
        for wrong in ["other", "32752", "99999999", "-1"] {
            #expect(throws: ChannelConfigurationError.unknownBackend(DeviceID(1), wrong)) { try backend(wrong) }
        }
    }

    @Test func `a socket needs a path in the end`() {
        let error = ChannelConfigurationError.noPath(DeviceID(4))
        #expect(error.description == "channel 4 has no path")
        #expect(throws: error) {
            try ChannelConfiguration(.init(name: "x", connection: .socket(path: "")), device: DeviceID(4))
        }
    }

    @Test(arguments: [
        (LibvirtChannel(type: "pty", targetType: "xen", targetName: "n"), "connection=pty,name=n"),
        (
            LibvirtChannel(type: "unix", sourcePath: "/p", sourceMode: "bind", targetType: "xen", targetName: "n"),
            "connection=socket,path=/p,name=n"
        ),
        (LibvirtChannel(type: "unix", targetType: "xen", targetName: "n"), "connection=socket,path=/chan/vm-n,name=n"),
    ])
    func `libvirt's channels are the same channels (C14)`(channel: LibvirtChannel, text: String) throws {
        #expect(try channel.specification(domainName: "vm", directory: "/chan").text == text)
    }

    @Test(arguments: [
        (
            LibvirtChannel(type: "pty", targetType: "virtio", targetName: "n"),
            LibvirtChannelError.targetTypeNotSupported
        ),
        (LibvirtChannel(type: "pty", targetType: nil, targetName: nil), .targetTypeNotSupported),
        (LibvirtChannel(type: "pty", targetType: "xen", targetName: nil), .targetNameMissing),
        (LibvirtChannel(type: "spicevmc", targetType: "xen", targetName: "n"), .sourceTypeNotSupported("spicevmc")),
        (
            LibvirtChannel(type: "unix", sourcePath: "/p", sourceMode: "connect", targetType: "xen", targetName: "n"),
            .notListening
        ),
    ])
    func `what libvirt cannot map is refused (C14)`(channel: LibvirtChannel, error: LibvirtChannelError) {
        #expect(throws: error) { try channel.specification(domainName: "vm", directory: "/chan") }
    }
}
