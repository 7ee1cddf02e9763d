mod durable;
mod flow;
mod kit;
mod plans;
mod pressure;
mod requests;
mod transactions;
