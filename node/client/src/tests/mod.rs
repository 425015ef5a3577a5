//! Tests against a server that answers exactly what a test tells it to.

mod requests;
mod subscriptions;

use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};

/// What the server does once it has read a request.
#[derive(Clone)]
enum Answer {
    /// Write these bytes and close.
    Bytes(Vec<u8>),
    /// Write these bytes and keep the connection open without a word.
    Hang(Vec<u8>),
}

/// A server that gives its answers in order, the last one forever, and keeps the requests it got.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        tokio::spawn(async move {
            let mut answers = answers.into_iter().peekable();
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().await.push(String::from_utf8_lossy(&request).into_owned());
                let answer = answers.next().unwrap();
                if answers.peek().is_none() {
                    answers = vec![answer.clone()].into_iter().peekable();
                }
                match answer {
                    Answer::Bytes(bytes) => stream.write_all(&bytes).await.unwrap(),
                    Answer::Hang(bytes) => {
                        stream.write_all(&bytes).await.unwrap();
                        open.push(stream);
                    }
                }
            }
        });
        Self { address, requests }
    }

    async fn first_request(&self) -> String {
        self.requests.lock().await[0].clone()
    }
}

/// Reads a head and as many bytes of body as it announces.
async fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).await.unwrap();
        request.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let announced = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.trim().parse().unwrap());
        let head = request.windows(4).position(|window| window == b"\r\n\r\n");
        if count == 0 || head.is_some_and(|end| request.len() >= end + 4 + announced) {
            return request;
        }
    }
}

/// A whole answer with a body in MessagePack.
fn answer<T: serde::Serialize>(status: &str, body: &T) -> Answer {
    raw_answer(status, &crate::encode_body(body).unwrap())
}

fn raw_answer(status: &str, body: &[u8]) -> Answer {
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    Answer::Bytes(bytes)
}
