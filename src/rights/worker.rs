//! A thread for calls that may sleep in the kernel: jobs go in, their number comes out.
//!
//! It is started with the first job. The process does not wait for it: an exit ends it, wherever it
//! sleeps.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;

use super::alarm::Alarm;

type Job = Box<dyn FnOnce() + Send>;

/// Nothing here needs more, in bytes.
const STACK: usize = 64 << 10;

/// The thread and its queue.
pub(crate) struct Worker {
    name: &'static str,
    /// Whether a job's sleeps are cut short by an [`Alarm`].
    alarmed: bool,
    jobs: Sender<Job>,
    queue: Arc<Mutex<Receiver<Job>>>,
    unfinished: Arc<AtomicUsize>,
    started: bool,
}

impl Worker {
    /// Of this name (pthread_setname_np(3)), whose jobs sleep for as long as they have to.
    pub(crate) fn new(name: &'static str) -> Self {
        let (jobs, queue) = channel();
        Worker {
            name,
            alarmed: false,
            jobs,
            queue: Arc::new(Mutex::new(queue)),
            unfinished: Arc::default(),
            started: false,
        }
    }

    /// The same, whose jobs' sleeps are cut short.
    pub(crate) fn alarmed(name: &'static str) -> Self {
        Worker {
            alarmed: true,
            ..Worker::new(name)
        }
    }

    /// How many jobs wait or run.
    pub(crate) fn len(&self) -> usize {
        self.unfinished.load(Ordering::Acquire)
    }

    /// Has the thread do a job, after those before it.
    pub(crate) fn run(&mut self, job: impl FnOnce() + Send + 'static) {
        self.unfinished.fetch_add(1, Ordering::AcqRel);
        // It cannot fail: the receiver is ours, too.
        let _ = self.jobs.send(Box::new(job));
        self.start();
    }

    /// Starts the thread if there is work for it and it is not there yet. It may have failed
    /// (EAGAIN: RLIMIT_NPROC, TasksMax=; ENOMEM), and is tried again with the next call.
    pub(crate) fn start(&mut self) {
        if !self.started && self.len() > 0 {
            self.started = self.spawn().is_ok();
        }
    }

    fn spawn(&self) -> io::Result<()> {
        let (queue, unfinished) = (Arc::clone(&self.queue), Arc::clone(&self.unfinished));
        let alarmed = self.alarmed;
        let thread = Builder::new().name(self.name.to_owned()).stack_size(STACK);
        thread
            .spawn(move || {
                let mut alarm = alarmed.then(Alarm::for_this_thread).flatten();
                let queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                // Until the worker is dropped, which the process's end is faster than.
                for job in queue.iter() {
                    match &mut alarm {
                        Some(alarm) => alarm.during(job),
                        None => job(),
                    }
                    unfinished.fetch_sub(1, Ordering::AcqRel);
                }
            })
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn jobs_are_done_in_their_order_and_counted() {
        let mut worker = Worker::new("test");
        assert_eq!(worker.len(), 0);
        let (sender, done) = mpsc::channel();
        let (gate, wait) = mpsc::channel::<()>();
        worker.run(move || wait.recv().expect("the gate"));
        for number in 0..3 {
            let sender = sender.clone();
            worker.run(move || sender.send(number).expect("a reader"));
        }
        assert_eq!(worker.len(), 4);
        gate.send(()).expect("a reader");
        let done: Vec<i32> = (0..3).map(|_| done.recv().expect("a job")).collect();
        assert_eq!(done, [0, 1, 2]);
    }
}
