// SPDX-License-Identifier: MIT OR Apache-2.0
//! iceoryx2: its zero-copy service between processes, set up as its own benchmark does.
//!
//! That is: memory for all messages allocated beforehand, room for no more ports than there are, safe overflow
//! (a full buffer drops its oldest message, as a topic of ours does), uninitialised loans, receiving in a loop.
//! The elements are cache lines rather than bytes: payloads are aligned as ours are then, and copied as fast.
//! It gets a prefix and a directory of its own, so that what a killed side leaves is found and removed.

use std::ops::{Deref, DerefMut};
use std::slice;

use iceoryx2::active_request::ActiveRequest;
use iceoryx2::config::Config;
use iceoryx2::node::{Node, NodeBuilder};
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::update_connections::UpdateConnections;
use iceoryx2::port::{client, server};
use iceoryx2::prelude::{
    ipc, set_log_level, AllocationStrategy, FileName, LogLevel, Path, SemanticString, SignalHandlingMode,
    ZeroCopySend,
};
use iceoryx2::request_mut::RequestMut;
use iceoryx2::response::Response;
use iceoryx2::response_mut::ResponseMut;
use iceoryx2::sample::Sample;
use iceoryx2::sample_mut::SampleMut;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;
use iceoryx2::service::port_factory::request_response;

use super::{Peer, Shape};
use crate::room::Room;
use crate::Result;

const LINE: usize = 64;

#[derive(Clone, Copy, Debug, ZeroCopySend)]
#[repr(C)] // apart from the next line, for the derive's sake
#[repr(align(64))]
pub struct Line([u8; LINE]);

/// Lines, used as the bytes that they are.
pub struct Bytes<S> {
    lines: S,
    size: usize,
}

impl<S: Deref<Target = [Line]>> Deref for Bytes<S> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        assert!(self.size <= self.lines.len() * LINE);
        // SAFETY: that many bytes are there, a line has no padding, and bytes may be aligned as they like.
        unsafe { slice::from_raw_parts(self.lines.as_ptr().cast(), self.size) }
    }
}

impl<S: DerefMut<Target = [Line]>> DerefMut for Bytes<S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        assert!(self.size <= self.lines.len() * LINE);
        // SAFETY: as above, and a line's bytes may have any value.
        unsafe { slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.size) }
    }
}

pub struct Iceoryx2 {
    node: Node<ipc::Service>,
}

impl Iceoryx2 {
    fn service(&self, topic: &str, shape: Shape) -> Result<PortFactory<ipc::Service, [Line], ()>> {
        Ok(self
            .node
            .service_builder(&topic.try_into()?)
            .publish_subscribe::<[Line]>()
            .max_publishers(1)
            .max_subscribers(shape.subscribers)
            .history_size(shape.history)
            .subscriber_max_buffer_size(shape.depth)
            .enable_safe_overflow(true)
            .open_or_create()?)
    }

    fn rpc_service(&self, name: &str) -> Result<RpcFactory> {
        Ok(self
            .node
            .service_builder(&name.try_into()?)
            .request_response::<[Line], [Line]>()
            .max_clients(1)
            .max_servers(1)
            .max_response_buffer_size(1)
            .open_or_create()?)
    }

    /// A client whose requests have `size` bytes.
    pub fn client(&self, name: &str, size: usize) -> Result<Client> {
        Ok(self
            .rpc_service(name)?
            .client_builder()
            .initial_max_slice_len(size.div_ceil(LINE))
            .allocation_strategy(AllocationStrategy::Static)
            .create()?)
    }

    /// A server whose replies have `size` bytes.
    pub fn server(&self, name: &str, size: usize) -> Result<Server> {
        Ok(self
            .rpc_service(name)?
            .server_builder()
            .initial_max_slice_len(size.div_ceil(LINE))
            .allocation_strategy(AllocationStrategy::Static)
            .create()?)
    }

    #[inline]
    pub fn loan_request(client: &Client, size: usize) -> Result<Bytes<RequestLoan>> {
        let loan = client.loan_slice_uninit(size.div_ceil(LINE))?;
        // SAFETY: as in `loan`.
        Ok(Bytes { lines: unsafe { loan.assume_init() }, size })
    }

    #[inline]
    pub fn send_request(loan: Bytes<RequestLoan>) -> Result<Pending> {
        Ok(loan.lines.send()?)
    }

    #[inline]
    pub fn spin_for_request(server: &Server) -> Result<Request> {
        loop {
            if let Some(request) = server.receive()? {
                return Ok(request);
            }
        }
    }

    #[inline]
    pub fn loan_reply(request: &Request, size: usize) -> Result<Bytes<ReplyLoan>> {
        let loan = request.loan_slice_uninit(size.div_ceil(LINE))?;
        // SAFETY: as in `loan`.
        Ok(Bytes { lines: unsafe { loan.assume_init() }, size })
    }

    #[inline]
    pub fn send_reply(loan: Bytes<ReplyLoan>) -> Result<()> {
        Ok(loan.lines.send()?)
    }

    #[inline]
    pub fn spin_for_reply(pending: &Pending) -> Result<Reply> {
        loop {
            if let Some(reply) = pending.receive()? {
                return Ok(reply);
            }
        }
    }

    /// What a request or a reply contains.
    #[inline]
    pub fn bytes(lines: &[Line]) -> Bytes<&[Line]> {
        Bytes { lines, size: size_of_val(lines) }
    }
}

type RpcFactory = request_response::PortFactory<ipc::Service, [Line], (), [Line], ()>;
pub type Client = client::Client<ipc::Service, [Line], (), [Line], ()>;
pub type Server = server::Server<ipc::Service, [Line], (), [Line], ()>;
pub type RequestLoan = RequestMut<ipc::Service, [Line], (), [Line], ()>;
pub type Pending = PendingResponse<ipc::Service, [Line], (), [Line], ()>;
pub type Request = ActiveRequest<ipc::Service, [Line], (), [Line], ()>;
pub type ReplyLoan = ResponseMut<ipc::Service, [Line], ()>;
pub type Reply = Response<ipc::Service, [Line], ()>;

impl Peer for Iceoryx2 {
    type Publisher = Publisher<ipc::Service, [Line], ()>;
    type Subscriber = Subscriber<ipc::Service, [Line], ()>;
    type Loan<'a> = Bytes<SampleMut<ipc::Service, [Line], ()>>;
    type Sample<'a> = Bytes<Sample<ipc::Service, [Line], ()>>;

    fn open(room: &Room) -> Result<Iceoryx2> {
        set_log_level(LogLevel::Error);
        let mut config = Config::default();
        config.global.prefix = FileName::new(room.iceoryx2_prefix().as_bytes())?;
        config.global.set_root_path(&Path::new(room.iceoryx2_root().as_os_str().as_encoded_bytes())?);
        let node = NodeBuilder::new()
            .config(&config)
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .create::<ipc::Service>()?;
        Ok(Iceoryx2 { node })
    }

    fn publisher(&self, topic: &str, shape: Shape) -> Result<Self::Publisher> {
        Ok(self
            .service(topic, shape)?
            .publisher_builder()
            .initial_max_slice_len(shape.size.div_ceil(LINE))
            .allocation_strategy(AllocationStrategy::Static)
            .create()?)
    }

    fn subscriber(&self, topic: &str, shape: Shape) -> Result<Self::Subscriber> {
        let service = self.service(topic, shape)?;
        Ok(service.subscriber_builder().history_request(shape.history).create()?)
    }

    #[inline]
    fn loan(publisher: &Self::Publisher, size: usize) -> Result<Self::Loan<'_>> {
        let loan = publisher.loan_slice_uninit(size.div_ceil(LINE))?;
        // SAFETY: the memory comes zeroed from the kernel, and bytes of any value are initialised bytes.
        Ok(Bytes { lines: unsafe { loan.assume_init() }, size })
    }

    #[inline]
    fn publish(loan: Self::Loan<'_>) -> Result<()> {
        loan.lines.send()?;
        Ok(())
    }

    #[inline]
    fn publish_copy(publisher: &Self::Publisher, payload: &[u8]) -> Result<()> {
        let mut loan = Self::loan(publisher, payload.len())?;
        loan.copy_from_slice(payload);
        Self::publish(loan)
    }

    #[inline]
    fn try_receive(subscriber: &Self::Subscriber) -> Result<Option<Self::Sample<'_>>> {
        let sample = subscriber.receive()?;
        Ok(sample.map(|lines| Bytes { size: lines.len() * LINE, lines }))
    }

    fn attend(publisher: &Self::Publisher) -> Result<()> {
        Ok(publisher.update_connections()?)
    }
}
