//! The module's allocator: the system's, which asks for large pages where much memory is taken at once.
//!
//! The protocols read vectors of tens of megabytes at random places. In pages of 4 KiB most of these reads miss the
//! processor's table of pages too, and each page costs a fault before its first use; pages of 2 MiB do away with both.
//! Linux gives them to programs that ask (`madvise`, where `transparent_hugepage` is so set, as most distributions
//! have it); where it gives none, nothing changes but one call for each large block (ADR 59).

#![allow(
    unsafe_code,
    reason = "an allocator is an unsafe trait; every call goes on to the system's with the caller's own arguments, and \
              the advice about a block that was just taken changes no byte of it"
)]

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, which asks for large pages from `LARGE` bytes on.
pub struct LargePages;

/// Below this a block gains little: it is some pages of 2 MiB at most, and comes from memory that is used again.
const LARGE: usize = 4 << 20;

// SAFETY: every method is the system allocator's, called with what the caller gave; `advised` returns what it is given.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's method asks for.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        advised(unsafe { System.realloc(block, layout, size) }, size)
    }
}

/// The same block, after the advice.
fn advised(block: *mut u8, size: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    if size >= LARGE && !block.is_null() {
        /// The smallest page there is.
        const PAGE: usize = 4096;
        // Whole pages, those of the ends too: an advice for a part of a mapping would cut it in two, and it could no
        // longer be moved when the block grows.
        let lead = block.addr() % PAGE;
        let length = (lead + size).next_multiple_of(PAGE);
        // SAFETY: the pages hold a block that is ours; the advice moves, frees and changes nothing. Where the system
        // knows no such advice the call fails, and the block is as good as before.
        unsafe { libc::madvise(block.wrapping_sub(lead).cast(), length, libc::MADV_HUGEPAGE) };
    }
    let _ = size;
    block
}
