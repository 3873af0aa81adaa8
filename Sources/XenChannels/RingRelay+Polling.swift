// SPDX-License-Identifier: MIT

extension RingRelay {
    /// How long after bytes found no room the ring is looked at again, though no event said that there is some: a peer may take bytes and
    /// never tell (A21, A22).
    ///
    /// It looks as long as bytes wait. Such a peer gets a ring full of bytes with each look, no later than this after it made room.
    public static let roomPollInterval = Duration.milliseconds(20)
}
