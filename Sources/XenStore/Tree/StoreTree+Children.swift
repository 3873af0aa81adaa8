// SPDX-License-Identifier: MIT

// The lists of children, in the order of their making (D20).
extension StoreTree {
    /// Puts a child at the end of its parent's list.
    mutating func list(_ place: Place) {
        let parent = keys[Int(place)].parent
        let first = entries[Int(parent)].firstChild
        entries[Int(place)].nextSibling = nowhere
        if first == nowhere {
            entries[Int(parent)].firstChild = place
            entries[Int(place)].previousSibling = place
        } else {
            let last = entries[Int(first)].previousSibling
            entries[Int(last)].nextSibling = place
            entries[Int(place)].previousSibling = last
            entries[Int(first)].previousSibling = place
        }
        entries[Int(parent)].listingSize += nameSize(place)
    }

    /// Takes a child out of its parent's list.
    mutating func unlist(_ place: Place) {
        let parent = keys[Int(place)].parent
        let first = entries[Int(parent)].firstChild
        let (previous, next) = (entries[Int(place)].previousSibling, entries[Int(place)].nextSibling)
        if place == first {
            entries[Int(parent)].firstChild = next
        } else {
            entries[Int(previous)].nextSibling = next
        }
        if next != nowhere {
            entries[Int(next)].previousSibling = previous
        } else if place != first {
            entries[Int(first)].previousSibling = previous
        }
        entries[Int(place)].previousSibling = nowhere
        entries[Int(place)].nextSibling = StoreTree.unlisted
        entries[Int(parent)].listingSize -= nameSize(place)
    }

    /// The children in the order of their making.
    func children(of place: Place) -> [Place] {
        var children: [Place] = []
        var child = entries[Int(place)].firstChild
        while child != nowhere {
            children.append(child)
            child = entries[Int(child)].nextSibling
        }
        return children
    }

    /// What the child's name takes in a listing, NUL included.
    func nameSize(_ place: Place) -> Int32 {
        Int32(keys[Int(place)].length - keys[Int(place)].nameStart + 1)
    }
}
