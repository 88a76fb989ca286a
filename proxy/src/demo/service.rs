//! A plain round-robin port that stands for the Kubernetes Service: it knows addresses and nothing of versions or rules.

use std::io;
use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Relays each connection to the next of `endpoints` until the task is dropped.
pub(crate) async fn serve(listener: TcpListener, endpoints: Vec<SocketAddr>) -> io::Result<()> {
    for endpoint in endpoints.into_iter().cycle() {
        let (client, _) = listener.accept().await?;
        // A broken connection is seen by its two ends.
        tokio::spawn(async move { relay(client, endpoint).await });
    }
    Ok(())
}

async fn relay(mut client: TcpStream, endpoint: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(endpoint).await?;
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn endpoint(name: u8) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(&[name]).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn each_connection_goes_to_the_next_endpoint() {
        let endpoints = vec![endpoint(b'a').await, endpoint(b'b').await, endpoint(b'c').await];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, endpoints));
        let mut answers = String::new();
        for _ in 0..7 {
            TcpStream::connect(address).await.unwrap().read_to_string(&mut answers).await.unwrap();
        }
        assert_eq!(answers, "abcabca");
    }
}
