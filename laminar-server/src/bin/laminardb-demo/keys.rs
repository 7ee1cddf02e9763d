//! Keys, read without waiting for Enter; the terminal is put back however the demo ends.

use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// kill -9 the server.
    Kill,
    /// End the demo.
    Quit,
}

/// The terminal in raw mode.
pub struct Keys(());

impl Keys {
    /// Takes the terminal.
    ///
    /// # Errors
    /// There is none.
    pub fn take() -> std::io::Result<Self> {
        enable_raw_mode()?;
        Ok(Self(()))
    }

    /// Waits at most so long for a wish.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn wait(&self, limit: Duration) -> std::io::Result<Option<Wish>> {
        if !poll(limit)? {
            return Ok(None);
        }
        let Event::Key(key) = read()? else { return Ok(None) };
        if key.kind == KeyEventKind::Release {
            return Ok(None);
        }
        Ok(match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Quit),
            KeyCode::Char('q') | KeyCode::Esc => Some(Wish::Quit),
            KeyCode::Char('k') => Some(Wish::Kill),
            _ => None,
        })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
    }
}
