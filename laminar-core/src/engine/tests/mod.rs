mod durable;
mod flow;
mod kit;
