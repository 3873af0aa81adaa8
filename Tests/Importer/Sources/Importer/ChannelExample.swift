// SPDX-License-Identifier: MIT

import XenBus
import XenChannels
import XenInterface
import XenStore

/// What a toolstack writes for a channel, from xl's specification to the tree.
func channelExample() throws {
    let text = "connection=socket, path=/run/agent.sock, name=org.example.agent.1"
    let channel = try ChannelConfiguration(ChannelSpecification(text), device: DeviceID(1))
    print(channel.qemuArguments.joined(separator: " "))  // for those who serve it with QEMU

    let host = StoreHost()
    var dom0 = host.connect(as: .dom0)
    var script = StoreScript(channel.creation(in: DomainID(1)), transaction: true)
    _ = try script.run(on: &dom0)
    let listing = try ChannelListing(of: DomainID(1), readingFrom: &dom0)
    print(listing.text)  // the layout of 'xl channel-list'
    precondition(listing.channels.map(\.name) == [channel.name])
}
