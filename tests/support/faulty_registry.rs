//! A registry that misbehaves on command, alone or before a real one, and notes what it was asked.

#![allow(dead_code, reason = "each test binary uses its own part, so `expect` cannot hold in all of them")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub authorization: Option<String>,
}

/// What to do with a request.
pub enum Answer {
    /// Passes it to the real registry.
    Forward,
    /// Passes it to the real registry and alters the last byte of what it says.
    ForwardAltered,
    Reply(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Status 200 and bytes as fast as they go, without end.
    EndlessBody,
    /// Status 200 and a byte now and then, without end.
    SlowBody,
    /// Closes the connection without a word.
    HangUp,
    /// Raises the flag and holds the request, unforwarded, until the client is gone.
    Hold(Arc<AtomicBool>),
    /// Passes it to the real registry, then raises the flag and holds the answer until the client is gone.
    ForwardThenHold(Arc<AtomicBool>),
}

type Behaviour = dyn Fn(&Request, usize) -> Answer + Send + Sync;

pub struct FaultyRegistry {
    /// `127.0.0.1:<port>`.
    pub host: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl FaultyRegistry {
    /// Starts it; `behave` is told how many requests with the same method and target came before.
    pub fn start(
        upstream: Option<&str>,
        behave: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (noted, upstream): (_, Option<String>) = (requests.clone(), upstream.map(str::to_owned));
        let behave: Arc<Behaviour> = Arc::new(behave);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (noted, upstream, behave) = (noted.clone(), upstream.clone(), behave.clone());
                // A client that hangs up is part of the game.
                std::thread::spawn(move || serve(connection, &noted, upstream.as_deref(), &*behave).ok());
            }
        });
        Self { host, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub fn count(&self, method: &str, part_of_target: &str) -> usize {
        let matches = |r: &&Request| r.method == method && r.target.contains(part_of_target);
        self.requests().iter().filter(matches).count()
    }
}

fn serve(
    connection: TcpStream,
    noted: &Mutex<Vec<Request>>,
    upstream: Option<&str>,
    behave: &Behaviour,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut connection = connection;
    let mut head = String::new();
    loop {
        let start = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
        if &head[start..] == "\r\n" {
            break;
        }
    }
    let header = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let request = Request { method, target, authorization: header("authorization") };
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let seen = {
        let mut all = noted.lock().unwrap();
        let same = |r: &&Request| r.method == request.method && r.target == request.target;
        let seen = all.iter().filter(same).count();
        all.push(request.clone());
        seen
    };
    let mut body = reader.take(length);
    match behave(&request, seen) {
        Answer::HangUp => {}
        Answer::Hold(flag) => hold(&flag, body.into_inner())?,
        Answer::ForwardThenHold(flag) => {
            let mut answer = forward(upstream.unwrap(), &head, &mut body)?;
            std::io::copy(&mut answer, &mut std::io::sink())?;
            hold(&flag, body.into_inner())?;
        }
        Answer::Forward => {
            let mut answer = forward(upstream.unwrap(), &head, &mut body)?;
            std::io::copy(&mut answer, &mut connection)?;
        }
        Answer::ForwardAltered => {
            let mut bytes = Vec::new();
            forward(upstream.unwrap(), &head, &mut body)?.read_to_end(&mut bytes)?;
            let last = bytes.last_mut().unwrap();
            *last ^= 1;
            connection.write_all(&bytes)?;
        }
        Answer::Reply(status, headers, content) => {
            std::io::copy(&mut body, &mut std::io::sink())?;
            write!(
                connection,
                "HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {}\r\n",
                content.len()
            )?;
            for (name, value) in headers {
                write!(connection, "{name}: {value}\r\n")?;
            }
            connection.write_all(b"\r\n")?;
            if request.method != "HEAD" {
                connection.write_all(&content)?;
            }
        }
        Answer::EndlessBody | Answer::SlowBody if request.method == "HEAD" => {}
        answer => {
            write!(connection, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            let (bytes, pause) = match answer {
                Answer::SlowBody => (vec![b' '], Duration::from_millis(50)),
                _ => (vec![b' '; 64 * 1024], Duration::ZERO),
            };
            loop {
                connection.write_all(&bytes)?;
                std::thread::sleep(pause);
            }
        }
    }
    connection.flush()
}

/// The client is gone when its side of the connection ends.
fn hold(flag: &AtomicBool, mut connection: impl Read) -> std::io::Result<()> {
    flag.store(true, Ordering::SeqCst);
    std::io::copy(&mut connection, &mut std::io::sink()).map(|_| ())
}

fn forward(upstream: &str, head: &str, body: &mut dyn Read) -> std::io::Result<TcpStream> {
    let mut real = TcpStream::connect(upstream)?;
    let kept = head.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    for line in kept {
        write!(real, "{line}\r\n")?;
    }
    real.write_all(b"Connection: close\r\n\r\n")?;
    std::io::copy(body, &mut real)?;
    Ok(real)
}
