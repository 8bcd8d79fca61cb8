//! Has the kernel take the pages of the program away that were used so far. They are in the page cache; what is used again
//! comes back from there by itself, and what is not is no longer the process's.

use std::{ptr, slice};

use nix::{
    errno::Errno,
    libc::{self, c_int, c_void, dl_phdr_info, size_t},
    unistd::{SysconfVar, sysconf},
};

/// To be called when something is over that happens seldom. What the kernel refuses costs memory, and nothing else.
pub fn give_back_program() {
    // SAFETY: `give_back` is called while this runs, and takes what it is documented to get.
    unsafe { libc::dl_iterate_phdr(Some(give_back), ptr::null_mut()) };
}

/// Of the first object, which is the program itself; then asks for no other.
unsafe extern "C" fn give_back(info: *mut dl_phdr_info, _size: size_t, _data: *mut c_void) -> c_int {
    // SAFETY: it is valid during the call (dl_iterate_phdr(3)).
    let info = unsafe { &*info };
    // SAFETY: so are its headers.
    let segments = unsafe { slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
    for segment in segments.iter().filter(|s| s.p_type == libc::PT_LOAD && s.p_flags & libc::PF_W == 0) {
        let begin = info.dlpi_addr + segment.p_vaddr;
        // SAFETY: nobody can have written there, so the kernel reads from the file again what was there.
        let _refused = unsafe { give_back_pages(begin, begin + segment.p_memsz) };
    }
    1
}

/// # Safety
///
/// The whole pages of the range are of a file, and as they are in it.
unsafe fn give_back_pages(begin: u64, end: u64) -> nix::Result<()> {
    let page =
        sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u64::try_from(size).ok()).ok_or(Errno::ENOTSUP)?;
    let (begin, end) = (begin.next_multiple_of(page), end / page * page);
    let Some(length) = end.checked_sub(begin).and_then(|length| usize::try_from(length).ok()) else {
        return Ok(());
    };
    let address = ptr::with_exposed_provenance_mut::<c_void>(begin as usize);
    // SAFETY: as the caller says.
    Errno::result(unsafe { libc::madvise(address, length, libc::MADV_DONTNEED) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::kib;

    #[test]
    fn what_was_used_is_given_back_and_comes_back_where_it_is_used() {
        let before = kib("RssFile:");
        give_back_program();
        let after = kib("RssFile:");
        assert!(after < before, "{before} KiB of files were there, and {after} are");
    }
}
