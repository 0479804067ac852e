//! Work that takes long and waits for nobody: a disk, or a look at every Envoy of a large fleet.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does it here; what else the thread had to do goes on elsewhere.
pub(crate) fn run_blocking<T>(work: impl FnOnce() -> T) -> T {
    let several = Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if several {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}
