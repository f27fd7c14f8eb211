//! An allocator that counts for each thread by itself: tests run side by side.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's, counted.
pub struct Counting;

/// What was allocated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// Bytes of the largest allocation.
    pub largest: usize,
    /// Most bytes at a time.
    pub peak: usize,
}

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// What a function allocates on this thread, beside its result.
pub fn taken<T>(f: impl FnOnce() -> T) -> (T, Taken) {
    LARGEST.set(0);
    let before = LIVE.get();
    PEAK.set(before);
    let result = f();
    (result, Taken { largest: LARGEST.get(), peak: (PEAK.get() - before) as usize })
}

fn count(from: usize, to: usize) {
    // A thread that ends has no counters any more.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(to)));
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + to as isize - from as isize);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// Safety: everything is the system's allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(0, layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(0, layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), size);
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(layout.size(), 0);
        unsafe { System.dealloc(at, layout) }
    }
}

#[test]
fn allocations_are_counted() {
    let (bytes, taken) = taken(|| {
        drop(vec![1u8; 5000]);
        vec![0u8; 3000]
    });
    assert_eq!((bytes.len(), taken.largest, taken.peak), (3000, 5000, 5000));
}
