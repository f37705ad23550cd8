//! Who may stop what, and when: the runner's cancel and timeout state machine (contract §2.2).

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Why a call's process group gets SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    Canceled,
    TimedOut,
}

/// The part of the job that a call belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Scope {
    /// Stopped by abort and job timeout; before the user's script also by a user's cancel.
    Job,
    /// Also stopped by a user's cancel and `RUNNER_SCRIPT_TIMEOUT`.
    Script { deadline: Option<Instant> },
    /// Also stopped by `RUNNER_AFTER_SCRIPT_TIMEOUT`.
    AfterScript { deadline: Instant },
    /// Stopped by its own timeout only.
    Cleanup { deadline: Instant },
}

/// The shared state of one job's contexts.
pub struct JobContext {
    deadline: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    job: Option<Interrupt>,
    script: Option<Interrupt>,
    script_reached: bool,
}

impl JobContext {
    pub fn new(timeout: Duration) -> Self {
        Self { deadline: Instant::now() + timeout, state: Mutex::default() }
    }

    /// A user's cancel: the whole job before the script, only the script from then on.
    pub fn cancel(&self) {
        let mut state = self.lock();
        let target = if state.script_reached { &mut state.script } else { &mut state.job };
        target.get_or_insert(Interrupt::Canceled);
    }

    /// A forced cancel.
    pub fn abort(&self) {
        self.lock().job.get_or_insert(Interrupt::Canceled);
    }

    /// From here on a user's cancel reaches the script's context only.
    pub fn enter_script(&self) {
        self.lock().script_reached = true;
    }

    /// Returns why the whole job ends early.
    pub fn job_interrupt(&self) -> Option<Interrupt> {
        let mut state = self.lock();
        if Instant::now() >= self.deadline {
            state.job.get_or_insert(Interrupt::TimedOut);
        }
        state.job
    }

    /// Returns why a call in this scope has to stop.
    pub fn interrupt(&self, scope: Scope) -> Option<Interrupt> {
        let passed = |deadline: Instant| (Instant::now() >= deadline).then_some(Interrupt::TimedOut);
        match scope {
            Scope::Job => self.job_interrupt(),
            Scope::Script { deadline } => {
                let mut script = self.lock().script;
                if script.is_none() {
                    script = deadline.and_then(passed);
                    if script.is_some() {
                        self.lock().script = script;
                    }
                }
                self.job_interrupt().or(script)
            }
            Scope::AfterScript { deadline } => self.job_interrupt().or_else(|| passed(deadline)),
            Scope::Cleanup { deadline } => passed(deadline),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no user of the job's context panicked")
    }
}
