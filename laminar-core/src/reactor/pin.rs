//! Which core a reactor is pinned to.

/// On so few cores pinning would take connectors and clients their share.
const FEW_CORES: usize = 4;

/// The core of the reactor with an index; none where there are few cores.
pub fn core_of(index: usize) -> Option<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.get(index).filter(|_| cores.len() > FEW_CORES).map(|core| core.id)
}
