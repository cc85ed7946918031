//! Threads that run blocking jobs. A thread is started when a job finds none that is free, so
//! that there are as many as were ever busy at once.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// A pool whose threads turn jobs into results. They end when it is dropped, each after its job.
pub struct Pool<J, R> {
    run: fn(J) -> R,
    /// The channel of each thread. A shared one would wake the threads one after another.
    threads: Vec<mpsc::Sender<J>>,
    /// The threads without a job. The one that was busy last comes next.
    free: Vec<usize>,
    sender: mpsc::Sender<(usize, R)>,
    results: mpsc::Receiver<(usize, R)>,
}

impl<J: Send + 'static, R: Send + 'static> Pool<J, R> {
    pub fn new(run: fn(J) -> R) -> Self {
        let (sender, results) = mpsc::channel();
        Self { run, threads: Vec::new(), free: Vec::new(), sender, results }
    }

    /// Runs a job.
    ///
    /// # Errors
    /// No thread is free, and none can be started.
    pub fn send(&mut self, job: J) -> io::Result<()> {
        let thread = match self.free.pop() {
            Some(thread) => thread,
            None => self.start()?,
        };
        self.threads[thread]
            .send(job)
            .map_err(|_| io::Error::other("a thread that talks to the server has ended"))
    }

    fn start(&mut self) -> io::Result<usize> {
        let number = self.threads.len();
        let (jobs, receiver) = mpsc::channel();
        let (run, results) = (self.run, self.sender.clone());
        std::thread::Builder::new().name(format!("http {}", number + 1)).spawn(move || {
            while let Ok(job) = receiver.recv() {
                if results.send((number, run(job))).is_err() {
                    return;
                }
            }
        })?;
        self.threads.push(jobs);
        Ok(number)
    }

    /// The next result, if there is one within `timeout`.
    pub fn receive(&mut self, timeout: Duration) -> Option<R> {
        let received = match timeout {
            Duration::ZERO => self.results.try_recv().map_err(|_| RecvTimeoutError::Timeout),
            _ => self.results.recv_timeout(timeout),
        };
        let (thread, result) = received.ok()?;
        self.free.push(thread);
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_started_when_none_is_free() {
        let mut pool = Pool::new(|job: u32| 2 * job);
        let timeout = Duration::from_secs(20);
        for job in 0..5 {
            pool.send(job).unwrap();
            assert_eq!(pool.receive(timeout), Some(2 * job));
        }
        assert_eq!(pool.threads.len(), 1);
        for job in 0..5 {
            pool.send(job).unwrap();
        }
        let mut results: Vec<u32> = (0..5).map_while(|_| pool.receive(timeout)).collect();
        results.sort_unstable();
        assert_eq!(results, [0, 2, 4, 6, 8]);
        assert_eq!(pool.threads.len(), 5);
        assert_eq!(pool.receive(Duration::ZERO), None);
    }
}
