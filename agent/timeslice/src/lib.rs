//! Asks the kernel to run a thread soon when it wakes, and only briefly.
//!
//! A thread has the share of the processors that its weight gives it, whatever its slice. A shorter slice means to get
//! it sooner and in smaller pieces: a thread that wakes runs before one whose slice is longer (sched(7); Linux 6.12,
//! where `sched_runtime` of sched_setattr(2) came to mean this for ordinary threads. Older kernels ignore it).

use std::{io, mem::MaybeUninit, time::Duration};

use nix::libc;

/// The shortest there is.
pub const SHORTEST: Duration = Duration::from_micros(100);

/// Gives the calling thread, and those that it starts, slices of this length. Nothing else of how they are scheduled
/// changes; no capability is needed.
pub fn set(slice: Duration) -> io::Result<()> {
    let mut attributes = get()?;
    attributes.sched_runtime = u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX);
    // SAFETY: the kernel reads `attributes.size` bytes of them, which it wrote itself.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, THIS_THREAD, &raw const attributes, NO_FLAGS) })
}

const THIS_THREAD: libc::pid_t = 0;
const NO_FLAGS: libc::c_uint = 0;

fn get() -> io::Result<libc::sched_attr> {
    let mut attributes = MaybeUninit::<libc::sched_attr>::zeroed();
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the kernel writes no more than `size` bytes.
    done(unsafe {
        libc::syscall(libc::SYS_sched_getattr, THIS_THREAD, attributes.as_mut_ptr(), size, NO_FLAGS)
    })?;
    // SAFETY: plain integers, of which zero is a value too.
    Ok(unsafe { attributes.assume_init() })
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_has_the_slice_that_it_asked_for_and_keeps_its_niceness() {
        thread::spawn(|| {
            let before = get().unwrap();
            set(SHORTEST).unwrap();
            let after = get().unwrap();
            assert_eq!(after.sched_nice, before.sched_nice);
            assert_eq!(after.sched_policy, before.sched_policy);
            // 0: a kernel before 6.12, which has nothing to say of it.
            assert!([0, 100_000].contains(&after.sched_runtime), "{}", after.sched_runtime);
        })
        .join()
        .unwrap();
    }
}
