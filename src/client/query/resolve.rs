//! Questions to the system's resolver, on threads of its own.
//!
//! Comes in: a host's name, or the address of one that a search has found. Goes out: what the
//! question's own module says, or the reason why there is nothing. getaddrinfo(3) and
//! getnameinfo(3) block and cannot be stopped, so they run on threads: a bounded number, started
//! only when something must be looked up, and never joined, so that a stuck look-up delays nobody,
//! not even the end of the program. A look-up that nobody waits for any more goes on, and whoever
//! asks the same again joins it.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::address::Family;
use super::failure::{Failure, Stage};
use super::getaddrinfo::LookUpError;
use super::pace::Pace;

/// The time for one look-up. glibc waits 5 s for each name server in turn, and then again, so this
/// outlives a first one that is dead, and a second.
pub(super) const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(15);
/// The stack of a thread that looks names up, bytes; only what is used of it takes memory.
const STACK_SIZE: usize = 256 * 1024;

/// How often a name is looked up that an overloaded name server refuses.
const TRIES: usize = 5;

/// What is looked up.
pub(crate) trait Question: Clone + Eq + Hash + Send + 'static {
    /// What there is to find.
    type Answer: Clone + PartialEq + Send;

    /// Asks the system's resolver, with addresses of this family only. Blocks.
    fn look_up(&self, family: Family) -> Result<Self::Answer, LookUpError>;
}

/// What one look-up found.
type Found<Q> = Result<<Q as Question>::Answer, LookUpError>;

/// Looks up names, or addresses.
pub(crate) struct Resolver<Q: Question> {
    shared: Arc<Shared<Q>>,
}

/// What the threads share.
struct Shared<Q: Question> {
    family: Family,
    state: Mutex<State<Q>>,
    /// Notified when a question is queued, or when more may run than before.
    queued: Condvar,
}

struct State<Q: Question> {
    pace: Pace,
    /// Every question that is queued or being looked up.
    look_ups: HashMap<Q, LookUp<Q>>,
    /// The questions that wait for a thread, the oldest first.
    queue: VecDeque<Q>,
    /// Since when some question has been waiting for a thread.
    queued_since: Option<Instant>,
    threads: usize,
    idle: usize,
    running: usize,
    /// When a name server last answered.
    heard: Option<Instant>,
}

struct LookUp<Q: Question> {
    /// None: queued.
    begun: Option<Instant>,
    tries: usize,
    waiting: Vec<oneshot::Sender<Found<Q>>>,
}

impl<Q: Question> Resolver<Q> {
    /// Looks up at most `at_once` at a time, in this family. No thread is started yet.
    pub(crate) fn new(at_once: usize, family: Family) -> Resolver<Q> {
        let state = State {
            pace: Pace::new(at_once),
            look_ups: HashMap::new(),
            queue: VecDeque::new(),
            queued_since: None,
            threads: 0,
            idle: 0,
            running: 0,
            heard: None,
        };
        Resolver {
            shared: Arc::new(Shared {
                family,
                state: Mutex::new(state),
                queued: Condvar::new(),
            }),
        }
    }

    /// Whether a look-up is under way, which gives descriptors back when it ends.
    pub(super) fn is_busy(&self) -> bool {
        !self.shared.lock().look_ups.is_empty()
    }

    /// What the look-up finds. It may take `limit`; the time that it waits behind others does not
    /// count while those get answers, and where no name server has answered anybody for `limit`, it
    /// is not waited for. Dropping the future gives up.
    pub(crate) async fn ask(&self, question: &Q, limit: Duration) -> Result<Q::Answer, Failure> {
        let asked = Instant::now();
        let mut found = self.shared.submit(question)?;
        let found = loop {
            let end = self.shared.end(question, asked, limit);
            match timeout_at(end, &mut found).await {
                Ok(Ok(found)) => break found,
                // Nothing ends a thread without an answer but a panic.
                Ok(Err(_)) => return Err(Failure::LookUp("the look-up broke off".to_owned())),
                // It has begun meanwhile, or others got answers.
                Err(_) if self.shared.end(question, asked, limit) > Instant::now() => {}
                Err(_) => {
                    let (stage, after) = (Stage::LookUp, limit);
                    return Err(Failure::TimedOut { stage, after });
                }
            }
        };
        found.map_err(|error| error.failure(self.shared.family))
    }
}

impl Resolver<Arc<str>> {
    /// The addresses of `name`, with this port.
    pub(super) async fn look_up(
        &self,
        name: &str,
        port: u16,
        limit: Duration,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let mut addresses = self.ask(&name.into(), limit).await?.to_vec();
        for address in &mut addresses {
            address.set_port(port);
        }
        Ok(addresses)
    }
}

impl<Q: Question> Shared<Q> {
    fn lock(&self) -> MutexGuard<'_, State<Q>> {
        // Nothing panics while it holds the lock, and the state would be whole if it did.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the look-up or queues a new one, for an idle thread or a new thread.
    fn submit(self: &Arc<Self>, question: &Q) -> Result<oneshot::Receiver<Found<Q>>, Failure> {
        let (sender, found) = oneshot::channel();
        let mut state = self.lock();
        if let Some(look_up) = state.look_ups.get_mut(question) {
            look_up.join(sender);
            return Ok(found);
        }
        if state.queue.len() >= state.idle && state.threads < state.pace.at_once() {
            match self.spawn() {
                Ok(()) => state.threads += 1,
                // EAGAIN of pthread_create(3): those that run will do.
                Err(_) if state.threads > 0 => {}
                Err(_) => {
                    let reason = "this machine has no thread left for the look-up";
                    return Err(Failure::LookUp(reason.to_owned()));
                }
            }
        }
        state.enqueue(question.clone());
        let look_up = LookUp {
            begun: None,
            tries: 0,
            waiting: vec![sender],
        };
        state.look_ups.insert(question.clone(), look_up);
        drop(state);
        self.queued.notify_one();
        Ok(found)
    }

    fn spawn(self: &Arc<Self>) -> std::io::Result<()> {
        let shared = Arc::clone(self);
        let builder = thread::Builder::new().name("look-up".to_owned());
        let spawned = builder.stack_size(STACK_SIZE).spawn(move || shared.work());
        spawned.map(drop)
    }

    /// When somebody who `asked` this then need wait no longer: `limit` after the look-up began, or,
    /// where it is queued, after a name server was last heard while others waited.
    fn end(&self, question: &Q, asked: Instant, limit: Duration) -> Instant {
        let state = self.lock();
        let begun = match state.look_ups.get(question) {
            Some(LookUp { begun: None, .. }) => state.heard.max(state.queued_since),
            Some(look_up) => look_up.begun.max(Some(asked)),
            None => None,
        };
        begun.unwrap_or(asked) + limit
    }

    /// A thread's life; it ends with the program.
    fn work(&self) {
        loop {
            let question = self.next();
            let found = question.look_up(self.family);
            self.finish(&question, found);
        }
    }

    /// Waits for a question that somebody waits for.
    fn next(&self) -> Q {
        let mut state = self.lock();
        loop {
            if let Some(question) = state.begin_next() {
                return question;
            }
            state.idle += 1;
            state = self
                .queued
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn finish(&self, question: &Q, found: Found<Q>) {
        let mut state = self.lock();
        let refused = matches!(found, Err(LookUpError::Again));
        let to_try_again = refused && state.is_to_try_again(question);
        state.running -= 1;
        if to_try_again {
            state.enqueue(question.clone());
            return;
        }
        if !matches!(found, Err(LookUpError::Silent | LookUpError::Again)) {
            state.heard = Some(Instant::now());
            state.pace.answered();
        }
        let look_up = state.look_ups.remove(question);
        drop(state);
        // This thread goes on with the next one; another may have been kept back.
        self.queued.notify_one();
        for waiting in look_up.into_iter().flat_map(|look_up| look_up.waiting) {
            // Whoever has given up wants no answer.
            let _ = waiting.send(found.clone());
        }
    }
}

impl<Q: Question> State<Q> {
    fn enqueue(&mut self, question: Q) {
        if self.queue.is_empty() {
            self.queued_since = Some(Instant::now());
        }
        self.queue.push_back(question);
    }

    /// Begins the look-up that was queued first, if one more may run.
    fn begin_next(&mut self) -> Option<Q> {
        while self.running < self.pace.at_once() {
            let question = self.queue.pop_front()?;
            if self.begin(&question) {
                return Some(question);
            }
        }
        None
    }

    /// Begins a queued look-up, or drops it where everybody has given up.
    fn begin(&mut self, question: &Q) -> bool {
        let Some(look_up) = self.look_ups.get_mut(question) else {
            return false;
        };
        if look_up.waiting.iter().all(oneshot::Sender::is_closed) {
            self.look_ups.remove(question);
            return false;
        }
        look_up.begun = Some(Instant::now());
        look_up.tries += 1;
        self.running += 1;
        true
    }

    /// Whether a look-up was refused because the name server was asked for too much at once. It
    /// counts as queued then.
    fn is_to_try_again(&mut self, question: &Q) -> bool {
        let look_up = self.look_ups.get_mut(question);
        let Some(look_up) = look_up.filter(|look_up| look_up.tries < TRIES) else {
            return false;
        };
        let begun = look_up.begun.take();
        begun.is_some_and(|begun| self.pace.refused(begun, self.running))
    }
}

impl<Q: Question> LookUp<Q> {
    fn join(&mut self, sender: oneshot::Sender<Found<Q>>) {
        // `--wait` asks for a stuck name again and again.
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting.retain(|waiting| !waiting.is_closed());
        }
        self.waiting.push(sender);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up(resolver: &Resolver<Arc<str>>, name: &str) -> Result<Vec<SocketAddr>, Failure> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().unwrap();
        runtime.block_on(resolver.look_up(name, 7, LOOK_UP_TIMEOUT))
    }

    #[test]
    fn names_are_looked_up_on_threads_that_are_used_again() {
        let resolver = Resolver::new(2, Family::V4);
        for _ in 0..20 {
            let found = look_up(&resolver, "localhost").unwrap();
            assert!(
                found
                    .iter()
                    .all(|address| address.ip().is_loopback() && address.port() == 7)
            );
        }
        let state = resolver.shared.lock();
        assert!(state.threads <= 2 && state.look_ups.is_empty());
    }

    #[test]
    fn a_name_that_cannot_be_is_told_in_words() {
        // Longer than a label of a name may be: no name server is asked.
        let name = format!("{}.invalid", "x".repeat(70));
        let failure = look_up(&Resolver::new(1, Family::Any), &name).unwrap_err();
        let reason = failure.reason();
        assert!(failure.may_pass(), "{reason}");
        assert!(!reason.contains("lookup address information"), "{reason}");
    }

    /// A resolver whose threads are busy: nothing that is queued begins.
    fn stuck() -> Resolver<Arc<str>> {
        let resolver = Resolver::new(100, Family::Any);
        resolver.shared.lock().threads = 100;
        resolver
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_asked_for_again_is_looked_up_once() {
        let resolver = stuck();
        for _ in 0..100 {
            let reason = resolver.look_up("x", 7, LOOK_UP_TIMEOUT).await.unwrap_err();
            let told = "the name server did not answer within 15 s";
            assert_eq!(reason.reason(), told);
        }
        let mut again = resolver.shared.submit(&"x".into()).unwrap();
        {
            let state = resolver.shared.lock();
            assert_eq!((state.queue.len(), state.look_ups.len()), (1, 1));
            assert!(state.look_ups[&Arc::from("x")].waiting.len() < 10);
        }
        assert!(resolver.shared.lock().begin(&"x".into()));
        resolver
            .shared
            .finish(&"x".into(), Err(LookUpError::Unknown));
        assert_eq!(again.try_recv(), Ok(Err(LookUpError::Unknown)));
        assert!(!resolver.is_busy());
    }

    #[test]
    fn a_name_that_nobody_waits_for_is_not_begun() {
        let resolver = stuck();
        drop(resolver.shared.submit(&"x".into()).unwrap());
        assert!(!resolver.shared.lock().begin(&"x".into()) && !resolver.is_busy());
    }

    #[test]
    fn waiting_behind_others_does_not_count_while_they_get_answers() {
        let resolver = stuck();
        let shared = &resolver.shared;
        let [x, y]: [Arc<str>; 2] = ["x", "y"].map(Arc::from);
        let _waiting = [&x, &y].map(|name| shared.submit(name).unwrap());
        let since = shared.lock().queued_since.expect("two are queued");
        let second = Duration::from_secs(1);
        // Nobody has been answered: whoever comes later need not wait for as long again.
        let late = since + 10 * second;
        assert_eq!(shared.end(&x, late, second), since + second);
        let heard = since + 9 * second;
        shared.lock().heard = Some(heard);
        assert_eq!(shared.end(&x, since, second), heard + second);
        // One that has begun has its own time, and whoever joins it has his.
        assert!(shared.lock().begin(&"x".into()));
        assert!(shared.end(&x, since, second) < heard);
        assert_eq!(shared.end(&x, late, second), late + second);
        assert_eq!(shared.end(&y, since, second), heard + second);
    }

    #[test]
    fn a_name_that_an_overloaded_server_refuses_is_looked_up_again() {
        let resolver = stuck();
        let shared = &resolver.shared;
        let names: Vec<Arc<str>> = (0..100).map(|n| n.to_string().into()).collect();
        let mut found: Vec<_> = names
            .iter()
            .map(|name| shared.submit(name).unwrap())
            .collect();
        while shared.lock().begin_next().is_some() {}
        assert_eq!(shared.lock().running, 100);
        for name in &names {
            shared.finish(name, Err(LookUpError::Again));
        }
        assert!(found.iter_mut().all(|found| found.try_recv().is_err()));
        {
            let state = shared.lock();
            assert_eq!((state.queue.len(), state.running), (100, 0));
            assert_eq!(state.pace.at_once(), 50);
        }
        // A server that fails whoever asks is not asked for ever.
        for _ in 0..100 * TRIES {
            let Some(name) = shared.lock().begin_next() else {
                break;
            };
            shared.finish(&name, Err(LookUpError::Again));
        }
        let told = Ok(Err(LookUpError::Again));
        assert!(found.iter_mut().all(|found| found.try_recv() == told));
        assert!(!resolver.is_busy());
    }
}
