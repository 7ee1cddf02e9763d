//! One socket: frames in, buffered messages out.

use bytes::{Buf, Bytes, BytesMut};
use pgwire::messages::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::fault::{Fault, put};

/// Output is sent when this much waits, also in the middle of a result.
const FLUSH_BYTES: usize = 64 << 10;

/// Most input kept while a statement runs; a client that pipelines more waits.
const AHEAD_BYTES: usize = 1 << 20;

/// Largest start-up packet (PostgreSQL's own limit).
const STARTUP_BYTES: usize = 10_000;

/// A buffered connection to a client.
pub struct Wire<S> {
    stream: S,
    input: BytesMut,
    /// What waits to be sent.
    pub output: BytesMut,
    max_message: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A connection whose messages hold at most `max_message` bytes.
    pub fn new(stream: S, max_message: usize) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), max_message }
    }

    /// Reads a start-up packet: a length and a body, without a type byte.
    ///
    /// # Errors
    /// A length that is impossible, or the end of the stream.
    pub async fn startup_packet(&mut self) -> Result<Bytes, Fault> {
        self.fill(4).await?;
        let length = (&self.input[..4]).get_u32() as usize;
        if !(8..=STARTUP_BYTES).contains(&length) {
            return Err(Fault::fatal("08P01", "invalid length of startup packet"));
        }
        self.fill(length).await?;
        self.input.advance(4);
        Ok(self.input.split_to(length - 4).freeze())
    }

    /// Reads a message: its type byte and its body. Cancel-safe.
    ///
    /// # Errors
    /// A length that is impossible or above the limit, or the end of the stream.
    pub async fn message(&mut self) -> Result<(u8, Bytes), Fault> {
        self.fill(5).await?;
        let tag = self.input[0];
        let length = (&self.input[1..5]).get_u32() as usize;
        if length < 4 {
            return Err(Fault::fatal("08P01", "invalid message length"));
        }
        if length > self.max_message {
            let message = format!("message of {length} bytes is larger than {} bytes", self.max_message);
            return Err(Fault::fatal("54000", message).hint("raise `max_message` in [server], or send less at once"));
        }
        self.fill(length + 1).await?;
        self.input.advance(5);
        Ok((tag, self.input.split_to(length - 4).freeze()))
    }

    async fn fill(&mut self, count: usize) -> Result<(), Fault> {
        while self.input.len() < count {
            // No more than what has arrived is ever allocated: the length is only the peer's word.
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(Fault::Gone);
            }
        }
        Ok(())
    }

    /// Returns when the client has closed its side; reads ahead meanwhile. Cancel-safe.
    pub async fn closed(&mut self) {
        loop {
            if self.input.len() >= AHEAD_BYTES {
                return std::future::pending().await;
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Appends a message to the output.
    pub fn put(&mut self, message: &impl Message) {
        put(&mut self.output, message);
    }

    /// Sends the output if much of it waits.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn relieve(&mut self) -> Result<(), Fault> {
        if self.output.len() >= FLUSH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Sends all output.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn flush(&mut self) -> Result<(), Fault> {
        self.stream.write_all_buf(&mut self.output).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Sends one byte before the protocol begins.
    ///
    /// # Errors
    /// The client is gone.
    pub async fn byte(&mut self, byte: u8) -> Result<(), Fault> {
        self.stream.write_all(&[byte]).await?;
        Ok(())
    }

    /// Sends what waits and closes; a failure changes nothing any more.
    pub async fn close(&mut self) {
        if self.flush().await.is_ok() {
            let _ = self.stream.shutdown().await;
        }
    }

    /// Whether bytes have arrived that are not read yet.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }
}
