//! Sockets that launchd has opened for us (`Sockets` of launchd.plist(5),
//! `launch_activate_socket(3)`). Elsewhere than on macOS there are none.
#![allow(
    unsafe_code,
    reason = "launchd hands descriptors over as plain numbers, in memory that is to be freed; they become owned here"
)]

use std::{io, os::fd::OwnedFd};

/// The names under which a property list may give sockets: those of socket units.
#[cfg(target_os = "macos")]
const NAMES: [&std::ffi::CStr; 6] = [
    c"http",
    c"https",
    c"websocket",
    c"quic",
    c"admin",
    c"control",
];

/// The sockets of our job, with their names; none if launchd did not start us, or its property list
/// names none. To be called once, at the start.
///
/// # Errors
/// When launchd cannot be asked.
#[cfg(target_os = "macos")]
pub(super) fn sockets() -> io::Result<Vec<(String, OwnedFd)>> {
    use std::{ffi, os::fd::FromRawFd};
    // <launch.h>, in libSystem; not in the `libc` crate.
    unsafe extern "C" {
        fn launch_activate_socket(
            name: *const ffi::c_char,
            fds: *mut *mut ffi::c_int,
            count: *mut usize,
        ) -> ffi::c_int;
    }
    let mut all = Vec::new();
    for name in NAMES {
        let (mut fds, mut count) = (std::ptr::null_mut::<ffi::c_int>(), 0_usize);
        // SAFETY: `name` ends with a zero byte, and both others are written to before the call
        // returns 0.
        match unsafe { launch_activate_socket(name.as_ptr(), &raw mut fds, &raw mut count) } {
            0 => {}
            // No such name in the property list; not a job of launchd's.
            nix::libc::ENOENT | nix::libc::ESRCH => continue,
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        for at in 0..count {
            // SAFETY: `fds` has `count` elements; each is a descriptor that was opened for us, and
            // this is its only taker.
            let socket = unsafe { OwnedFd::from_raw_fd(*fds.add(at)) };
            super::close_on_exec(&socket)?;
            all.push((name.to_string_lossy().into_owned(), socket));
        }
        // SAFETY: launch_activate_socket(3): the array was made by malloc and is the caller's to
        // free.
        unsafe { nix::libc::free(fds.cast()) };
    }
    Ok(all)
}

/// None.
#[cfg(not(target_os = "macos"))]
#[allow(clippy::unnecessary_wraps, reason = "asking launchd can fail")]
pub(super) const fn sockets() -> io::Result<Vec<(String, OwnedFd)>> {
    Ok(Vec::new())
}
