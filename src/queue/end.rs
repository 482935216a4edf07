//! What handles and ends have in common, for those who are generic over them: futures and
//! [`Select`](super::Select). Says nothing of what they do.

use super::consumer::Consumer;
use super::handle::Handle;
use super::message::{Message, Sealed};
use super::port::Port;
use super::producer::Producer;

/// A [`Handle`], a [`Producer`] or a [`Consumer`]. Sealed.
pub trait End: Sealed {
    /// The kind of the queue's messages.
    type Kind: Message;
    #[doc(hidden)]
    fn port(&self) -> &Port;
    #[doc(hidden)]
    fn port_mut(&mut self) -> &mut Port;
}

/// What can get: a [`Handle`] or a [`Consumer`].
pub trait Gets: End {}

/// What can put: a [`Handle`] or a [`Producer`].
pub trait Puts: End {}

macro_rules! end {
    ($end:ident: $($can:ident),*) => {
        impl<M: Message> Sealed for $end<M> {}

        impl<M: Message> End for $end<M> {
            type Kind = M;

            fn port(&self) -> &Port {
                self.its_port()
            }

            fn port_mut(&mut self) -> &mut Port {
                self.its_port_mut()
            }
        }

        $(impl<M: Message> $can for $end<M> {})*
    };
}

end!(Handle: Gets, Puts);
end!(Producer: Puts);
end!(Consumer: Gets);
