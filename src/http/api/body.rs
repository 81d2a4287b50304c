//! Reads a body: bounded before and after it is unpacked, and in time.

use std::io::Read as _;
use std::time::Duration;

use actix_web::web::{BytesMut, Payload};
use flate2::bufread::MultiGzDecoder;
use futures_util::StreamExt as _;

use super::headers::Packing;

/// A client that sends slower than this is not waited for.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// It has more bytes than it may, packed or unpacked.
    TooLarge,
    /// It is not packed as it says.
    NotPacked,
    /// It did not come in time.
    TooSlow,
    /// It broke off.
    BrokenOff,
}

/// Reads and unpacks a body of at most `bytes_max` bytes, both ways counted.
pub(super) async fn read(payload: Payload, packing: Packing, bytes_max: usize) -> Result<Vec<u8>, BodyFault> {
    let packed = tokio::time::timeout(BODY_TIMEOUT, collect(payload, bytes_max))
        .await
        .map_err(|_late| BodyFault::TooSlow)??;
    unpack(packed, packing, bytes_max)
}

async fn collect(mut payload: Payload, bytes_max: usize) -> Result<Vec<u8>, BodyFault> {
    let mut read = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_broken| BodyFault::BrokenOff)?;
        if read.len() + chunk.len() > bytes_max {
            return Err(BodyFault::TooLarge);
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.into())
}

/// Never holds more than `bytes_max` bytes and one, however much the packed ones would become.
fn unpack(packed: Vec<u8>, packing: Packing, bytes_max: usize) -> Result<Vec<u8>, BodyFault> {
    match packing {
        Packing::Identity => Ok(packed),
        Packing::Gzip => {
            let mut unpacked = Vec::new();
            let most = bytes_max as u64 + 1;
            let read = MultiGzDecoder::new(&packed[..]).take(most).read_to_end(&mut unpacked);
            read.map_err(|_damaged| BodyFault::NotPacked)?;
            if unpacked.len() > bytes_max { Err(BodyFault::TooLarge) } else { Ok(unpacked) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn a_packed_body_is_unpacked_and_a_bomb_is_stopped_at_the_limit() {
        assert_eq!(unpack(packed(b"{}"), Packing::Gzip, 10).unwrap(), b"{}");
        assert_eq!(unpack(packed(&[b' '; 10]), Packing::Gzip, 10).unwrap().len(), 10);
        assert_eq!(unpack(packed(&[b' '; 11]), Packing::Gzip, 10), Err(BodyFault::TooLarge));
        let bomb = packed(&vec![0; 64 << 20]);
        assert!(bomb.len() < 1 << 17, "64 MiB packed into less than 128 KiB");
        assert_eq!(unpack(bomb, Packing::Gzip, 1 << 20), Err(BodyFault::TooLarge));
    }

    #[test]
    fn what_is_not_packed_as_it_says_is_refused() {
        assert_eq!(unpack(b"{}".to_vec(), Packing::Gzip, 10), Err(BodyFault::NotPacked));
        let mut cut = packed(&[b'x'; 100]);
        cut.truncate(cut.len() - 4);
        assert_eq!(unpack(cut, Packing::Gzip, 1_000), Err(BodyFault::NotPacked));
        assert_eq!(unpack(b"{}".to_vec(), Packing::Identity, 10).unwrap(), b"{}");
    }
}
