//! A watch over a request that its client may break off.

/// Calls a function if it is dropped before the request is [`over`](Self::over).
pub(super) struct Watch<F: FnMut()> {
    broken_off: F,
    is_over: bool,
}

impl<F: FnMut()> Watch<F> {
    pub(super) fn new(broken_off: F) -> Self {
        Self { broken_off, is_over: false }
    }

    pub(super) fn over(mut self) {
        self.is_over = true;
    }
}

impl<F: FnMut()> Drop for Watch<F> {
    fn drop(&mut self) {
        if !self.is_over {
            (self.broken_off)();
        }
    }
}
