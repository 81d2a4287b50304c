//! The disk from outside: how much room is left.

use std::io;
use std::path::Path;
use std::sync::Arc;

/// Room that a store leaves free: below it, a write is refused before it can fail half-way.
pub const ROOM_KEPT_FREE: u64 = 16 << 20;

/// Where free room is asked.
pub trait Disk: Send + Sync + 'static {
    /// Free bytes for an ordinary user on the file system that holds `folder`.
    ///
    /// # Errors
    /// Those of the operating system.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
}

/// A shared disk.
pub type SharedDisk = Arc<dyn Disk>;

/// The machine's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let room = nix::sys::statvfs::statvfs(folder).map_err(io::Error::from)?;
        Ok(room.blocks_available().saturating_mul(room.fragment_size()))
    }
}

/// True when a store in `folder` should not write now. A disk that cannot be asked is taken to have room: the write
/// itself will tell.
pub fn is_full(disk: &dyn Disk, folder: &Path) -> bool {
    disk.free_bytes(folder).is_ok_and(|free| free < ROOM_KEPT_FREE)
}
