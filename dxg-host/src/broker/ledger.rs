//! Who holds how much memory, per client and per virtual GPU.
//!
//! *Why.* Quotas are counted here, before anything is allocated, in the one process that no client runs code in.
//!
//! *Invariants.* A virtual GPU's use is the sum of its clients' use and of its orphans: memory of shared objects whose
//! maker has gone while others can still open them.
//!
//! *Units.* Bytes.

use std::collections::BTreeMap;

use dxg_wire::session::Reason;

use super::ids::ClientId;
use super::ids::VgpuId;

/// What one account may hold and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// The most that it may hold.
    pub(super) quota_bytes: u64,
    /// What it holds.
    pub(super) used_bytes: u64,
}

impl Account {
    /// Use after one more charge, where the quota allows it.
    fn after(self, size_bytes: u64) -> Option<u64> {
        self.used_bytes.checked_add(size_bytes).filter(|used| *used <= self.quota_bytes)
    }

    /// What the quota leaves.
    fn left_bytes(self) -> u64 {
        self.quota_bytes.saturating_sub(self.used_bytes)
    }
}

/// All accounts of the daemon.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    vgpus: BTreeMap<VgpuId, Account>,
    clients: BTreeMap<ClientId, (VgpuId, Account)>,
}

impl Ledger {
    /// Opens the account of a virtual GPU.
    pub(super) fn open_vgpu(&mut self, vgpu: VgpuId, quota_bytes: u64) {
        self.vgpus.insert(vgpu, Account { quota_bytes, used_bytes: 0 });
    }

    /// Opens the account of a client of `vgpu`.
    pub(super) fn open_client(&mut self, client: ClientId, vgpu: VgpuId, quota_bytes: u64) {
        self.clients.insert(client, (vgpu, Account { quota_bytes, used_bytes: 0 }));
    }

    /// Charges `size_bytes` to a client and its virtual GPU, or to neither.
    pub(super) fn charge(&mut self, client: ClientId, size_bytes: u64) -> Result<(), Reason> {
        let (vgpu, account) = self.clients.get_mut(&client).ok_or(Reason::NOT_FOUND)?;
        let whole = self.vgpus.get_mut(vgpu).ok_or(Reason::NOT_FOUND)?;
        let used = account.after(size_bytes).ok_or(Reason::QUOTA)?;
        whole.used_bytes = whole.after(size_bytes).ok_or(Reason::QUOTA)?;
        account.used_bytes = used;
        Ok(())
    }

    /// Gives a charge back. More than the client holds is as much as it holds.
    pub(super) fn uncharge(&mut self, client: ClientId, size_bytes: u64) {
        let Some((vgpu, account)) = self.clients.get_mut(&client) else { return };
        let size_bytes = size_bytes.min(account.used_bytes);
        account.used_bytes -= size_bytes;
        if let Some(whole) = self.vgpus.get_mut(vgpu) {
            whole.used_bytes = whole.used_bytes.saturating_sub(size_bytes);
        }
    }

    /// Moves a charge of a client to its virtual GPU alone, where it stays until [`Self::uncharge_orphan`].
    pub(super) fn orphan(&mut self, client: ClientId, size_bytes: u64) {
        if let Some((_, account)) = self.clients.get_mut(&client) {
            account.used_bytes = account.used_bytes.saturating_sub(size_bytes);
        }
    }

    /// Gives back what [`Self::orphan`] moved.
    pub(super) fn uncharge_orphan(&mut self, vgpu: VgpuId, size_bytes: u64) {
        if let Some(whole) = self.vgpus.get_mut(&vgpu) {
            whole.used_bytes = whole.used_bytes.saturating_sub(size_bytes);
        }
    }

    /// Closes a client's account with all that is on it.
    pub(super) fn close_client(&mut self, client: ClientId) {
        if let Some((vgpu, account)) = self.clients.remove(&client)
            && let Some(whole) = self.vgpus.get_mut(&vgpu)
        {
            whole.used_bytes = whole.used_bytes.saturating_sub(account.used_bytes);
        }
    }

    /// How much more a client may hold, by its own quota and its virtual GPU's.
    pub(super) fn left_bytes(&self, client: ClientId) -> u64 {
        let Some((vgpu, account)) = self.clients.get(&client) else { return 0 };
        account.left_bytes().min(self.vgpu(*vgpu).left_bytes())
    }

    /// The account of a virtual GPU.
    pub(super) fn vgpu(&self, vgpu: VgpuId) -> Account {
        self.vgpus.get(&vgpu).copied().unwrap_or_default()
    }

    /// The account of a client.
    pub(super) fn client(&self, client: ClientId) -> Account {
        self.clients.get(&client).map(|(_, account)| *account).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VGPU: VgpuId = VgpuId(1);
    const A: ClientId = ClientId(1);
    const B: ClientId = ClientId(2);

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.open_vgpu(VGPU, 100);
        ledger.open_client(A, VGPU, 80);
        ledger.open_client(B, VGPU, 80);
        ledger
    }

    #[test]
    fn charge_to_the_last_byte_is_granted_and_one_more_is_refused_without_trace() {
        let mut ledger = ledger();
        assert_eq!(ledger.charge(A, 80), Ok(()));
        assert_eq!(ledger.charge(A, 1), Err(Reason::QUOTA));
        assert_eq!(ledger.client(A).used_bytes, 80);
        assert_eq!(ledger.vgpu(VGPU).used_bytes, 80);
    }

    #[test]
    fn charge_over_the_virtual_gpu_quota_is_refused_and_not_counted_for_the_client() {
        let mut ledger = ledger();
        ledger.charge(A, 60).unwrap();
        assert_eq!(ledger.charge(B, 41), Err(Reason::QUOTA));
        assert_eq!(ledger.client(B).used_bytes, 0);
        assert_eq!(ledger.charge(B, 40), Ok(()));
    }

    #[test]
    fn charge_that_overflows_is_refused() {
        let mut ledger = ledger();
        ledger.charge(A, 1).unwrap();
        assert_eq!(ledger.charge(A, u64::MAX), Err(Reason::QUOTA));
    }

    #[test]
    fn close_client_gives_everything_back() {
        let mut ledger = ledger();
        ledger.charge(A, 60).unwrap();
        ledger.charge(B, 10).unwrap();
        ledger.close_client(A);
        assert_eq!(ledger.vgpu(VGPU).used_bytes, 10);
        assert_eq!(ledger.charge(A, 1), Err(Reason::NOT_FOUND));
    }

    #[test]
    fn orphan_stays_on_the_virtual_gpu_until_it_is_given_back() {
        let mut ledger = ledger();
        ledger.charge(A, 60).unwrap();
        ledger.orphan(A, 20);
        ledger.close_client(A);
        assert_eq!(ledger.vgpu(VGPU).used_bytes, 20);
        ledger.uncharge_orphan(VGPU, 20);
        assert_eq!(ledger.vgpu(VGPU).used_bytes, 0);
    }

    #[test]
    fn uncharge_of_more_than_is_held_does_not_touch_others() {
        let mut ledger = ledger();
        ledger.charge(A, 10).unwrap();
        ledger.charge(B, 10).unwrap();
        ledger.uncharge(A, 50);
        assert_eq!(ledger.vgpu(VGPU).used_bytes, 10);
    }
}
