//! A live server that nobody may reach: it counts every connection, not only what speaks HTTP.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::staging::Host;

/// Listens on loopback and on the address where containers reach the host.
pub struct Trap {
    pub loopback: SocketAddr,
    pub gateway: SocketAddr,
    count: Arc<AtomicUsize>,
}

impl Trap {
    pub fn beside(host: &Host) -> Self {
        let count = Arc::new(AtomicUsize::new(0));
        let listen = |ip: IpAddr| {
            let listener = TcpListener::bind((ip, 0)).expect("a free port");
            let address = listener.local_addr().expect("an address");
            let count = Arc::clone(&count);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    count.fetch_add(1, Ordering::SeqCst);
                    answer(stream);
                }
            });
            address
        };
        let loopback = listen(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let gateway = listen(host.gitlab.address().ip());
        Self { loopback, gateway, count }
    }

    /// Nobody came, and the trap was open: the test itself is counted.
    pub fn is_untouched(&self) {
        self.was_touched(0);
    }

    /// Exactly so many came, and the trap was open.
    pub fn was_touched(&self, times: usize) {
        assert_eq!(self.count.load(Ordering::SeqCst), times, "connections reached the trap");
        for address in [self.loopback, self.gateway] {
            let mut stream = TcpStream::connect(address).expect("the trap listens");
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("a request");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        }
        assert_eq!(self.count.load(Ordering::SeqCst), times + 2, "the trap counts");
    }
}

fn answer(mut stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let _ = stream.read(&mut [0; 4096]);
    let body = "#!/bin/sh\necho fetched\n";
    let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}
