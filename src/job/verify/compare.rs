//! The shares of one bucket beside each other: what each must have in common with the rest.
//!
//! Pure. Two shares show that there is a difference, three show which of them is odd: where more than half of the shares
//! agree, the others are named; else the bucket is.

use std::collections::BTreeMap;

use crate::tahoe::check::Common;
use crate::tahoe::container::ShareType;
use crate::tahoe::hash::Hash;
use crate::tahoe::region::{Flaw, Region, Span};
use crate::tahoe::ueb::Ueb;

/// A share of which enough could be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    pub name: &'a [u8],
    pub common: &'a Common,
    pub share_type: ShareType,
    /// Whether it was found wanting by itself.
    pub has_flaws: bool,
}

/// What is odd in a bucket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Odd {
    /// Shares, by name.
    pub of_shares: Vec<(Vec<u8>, Flaw)>,
    /// What cannot be laid to any one share.
    pub of_bucket: Vec<Flaw>,
}

/// Compares all shares of a bucket.
pub(super) fn across(members: &[Member<'_>]) -> Odd {
    let mut odd = Odd::default();
    let kinds = agree(members, |m| (m.share_type == ShareType::Mutable).to_string().into_bytes());
    kinds.tell(&mut odd, "are of one kind, this is of the other", "some shares are mutable, some are not", |_| {
        (Region::Bucket, None)
    });
    let mut versions: BTreeMap<(u64, Hash), Vec<Member<'_>>> = BTreeMap::new();
    let (mut immutable, mut mutable) = (Vec::new(), Vec::new());
    for member in members {
        match member.common {
            Common::Immutable { .. } => immutable.push(*member),
            Common::Mutable { version, .. } => {
                mutable.push(*member);
                versions.entry(*version).or_default().push(*member);
            }
        }
    }
    let uebs = agree(&immutable, |m| ueb_of(m).0.to_vec());
    let normal = uebs.normal.as_ref().map(|members| ueb_of(&members[0]).0);
    uebs.tell(&mut odd, "have another UEB", "its shares have different UEBs, and which is right cannot be told", |m| {
        differing_ueb(m, normal)
    });
    // A file has one key in all its versions; its storage index is made from it.
    let keys = agree(&mutable, |m| part_of(m, Region::PublicKey).map_or(Vec::new(), |(_, hash)| hash.to_vec()));
    let what = "its shares are of files with different keys, and which is right cannot be told";
    keys.tell(&mut odd, "have another public key: this one is of another file", what, |_| (Region::Bucket, None));
    for version in versions.values() {
        for region in [Region::SignedFields, Region::Signature, Region::PrivateKey] {
            let parts = agree(version, |m| part_of(m, region).map_or(Vec::new(), |(_, hash)| hash.to_vec()));
            let tied = format!("the shares of one version differ in their {region}, and which is right cannot be told");
            let said = format!("and of this version have another {region}");
            parts.tell(&mut odd, &said, &tied, |m| (region, part_of(m, region).map(|(span, _)| span)));
        }
    }
    odd
}

/// Shares by what they say.
struct Agreement<'a> {
    /// Those of the largest group, if it is more than half.
    normal: Option<Vec<Member<'a>>>,
    others: Vec<Member<'a>>,
}

fn agree<'a>(members: &[Member<'a>], say: impl Fn(&Member<'a>) -> Vec<u8>) -> Agreement<'a> {
    let mut groups: BTreeMap<Vec<u8>, Vec<Member<'a>>> = BTreeMap::new();
    for member in members {
        groups.entry(say(member)).or_default().push(*member);
    }
    let largest = groups.iter().max_by_key(|(_, group)| group.len()).map(|(key, _)| key.clone());
    let normal = largest.and_then(|key| groups.remove(&key));
    let by_name = |mut members: Vec<Member<'a>>| {
        members.sort_unstable_by_key(|member| member.name);
        members
    };
    let others: Vec<Member<'a>> = by_name(groups.into_values().flatten().collect());
    match normal {
        Some(normal) if 2 * normal.len() > members.len() => Agreement { normal: Some(normal), others },
        normal => Agreement { normal: None, others: by_name([normal.unwrap_or_default(), others].concat()) },
    }
}

impl Agreement<'_> {
    /// Tells who is odd: those who do not agree with more than half; or, where there is no such half, that they differ.
    fn tell(&self, odd: &mut Odd, said: &str, tied: &str, place: impl Fn(&Member<'_>) -> (Region, Option<Span>)) {
        let Some(normal) = &self.normal else {
            if let Some(first) = self.others.first() {
                let names: Vec<_> = self.others.iter().map(|m| String::from_utf8_lossy(m.name)).collect();
                let reason = format!("{tied} (shares {})", names.join(", "));
                odd.of_bucket.push(Flaw { region: place(first).0, reason, bytes: None });
            }
            return;
        };
        for member in &self.others {
            let (region, bytes) = place(member);
            let reason = format!("{} other shares of the bucket {said}", normal.len());
            odd.of_shares.push((member.name.to_vec(), Flaw { region, reason, bytes }));
        }
    }
}

fn ueb_of<'a>(member: &Member<'a>) -> (&'a [u8], u64) {
    match member.common {
        Common::Immutable { ueb, at } => (ueb, *at),
        Common::Mutable { .. } => (&[], 0),
    }
}

fn part_of(member: &Member<'_>, region: Region) -> Option<(Span, Hash)> {
    match member.common {
        Common::Mutable { parts, .. } => {
            parts.iter().find(|(r, ..)| *r == region).map(|(_, span, hash)| (*span, *hash))
        }
        Common::Immutable { .. } => None,
    }
}

/// Where a UEB differs from the one that is right: in the hash that nothing else in a share agrees with, somewhere else, or
/// so that it is of another file, all by itself in order.
fn differing_ueb(member: &Member<'_>, normal: Option<&[u8]>) -> (Region, Option<Span>) {
    let (ueb, at) = ueb_of(member);
    let whole = Span::new(at, at + ueb.len() as u64);
    let Some(normal) = normal.filter(|normal| normal.len() == ueb.len()) else {
        return (if member.has_flaws { Region::Ueb } else { Region::Bucket }, Some(whole));
    };
    let differs = |(_, (a, b)): &(usize, (&u8, &u8))| a != b;
    let mut places = ueb.iter().zip(normal).enumerate().filter(differs).map(|(place, _)| place);
    let (first, last) = match (places.next(), places.next_back()) {
        (Some(first), last) => (first, last.unwrap_or(first)),
        (None, _) => return (Region::Ueb, Some(whole)),
    };
    let bytes = Some(Span::new(at + first as u64, at + last as u64 + 1));
    match Ueb::crypttext_hash_at(ueb) {
        Some(hash) if (hash..hash + 32).contains(&first) && last < hash + 32 => (Region::UebCrypttextHash, bytes),
        _ if member.has_flaws => (Region::Ueb, bytes),
        _ => (Region::Bucket, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutable(version: u64, key: u8, private: u8) -> Common {
        let part = |region, byte: u8| (region, Span::new(1, 2), [byte; 32]);
        let parts = vec![part(Region::PublicKey, key), part(Region::PrivateKey, private)];
        Common::Mutable { version: (version, [0; 32]), parts }
    }

    fn odd_of(all: &[Common]) -> Odd {
        let names: Vec<Vec<u8>> = (0..all.len()).map(|i| i.to_string().into_bytes()).collect();
        let member = |(common, name)| {
            let share_type =
                if matches!(common, &Common::Mutable { .. }) { ShareType::Mutable } else { ShareType::Immutable };
            Member { name, common, share_type, has_flaws: false }
        };
        across(&all.iter().zip(names.iter().map(Vec::as_slice)).map(member).collect::<Vec<_>>())
    }

    #[test]
    fn three_show_which_is_odd_and_two_that_one_is() {
        let good = mutable(1, 1, 1);
        assert_eq!(odd_of(&[good.clone(), good.clone()]), Odd::default());
        let odd = odd_of(&[good.clone(), mutable(1, 1, 9), good.clone()]);
        let [(name, flaw)] = &odd.of_shares[..] else { panic!("{odd:?}") };
        assert_eq!((&name[..], flaw.region, flaw.bytes), (&b"1"[..], Region::PrivateKey, Some(Span::new(1, 2))));
        assert_eq!(flaw.reason, "2 other shares of the bucket and of this version have another encrypted private key");
        assert!(odd.of_bucket.is_empty());
        let odd = odd_of(&[good.clone(), mutable(1, 1, 9)]);
        assert!(odd.of_shares.is_empty());
        assert_eq!(odd.of_bucket.iter().map(|f| f.region).collect::<Vec<_>>(), [Region::PrivateKey]);
        assert!(odd.of_bucket[0].reason.ends_with("cannot be told (shares 0, 1)"));
    }

    #[test]
    fn versions_may_differ_but_not_in_their_key() {
        assert_eq!(odd_of(&[mutable(1, 1, 1), mutable(2, 1, 2)]), Odd::default());
        let odd = odd_of(&[mutable(1, 1, 1), mutable(1, 1, 1), mutable(2, 7, 1)]);
        assert_eq!(
            odd.of_shares.iter().map(|(n, f)| (&n[..], f.region)).collect::<Vec<_>>(),
            [(&b"2"[..], Region::Bucket)]
        );
    }

    #[test]
    fn a_share_of_the_other_kind_is_in_the_wrong_bucket() {
        let immutable = Common::Immutable { ueb: b"u".to_vec(), at: 9 };
        let odd = odd_of(&[mutable(1, 1, 1), immutable.clone(), mutable(1, 1, 1)]);
        assert_eq!(
            odd.of_shares.iter().map(|(n, f)| (&n[..], f.region)).collect::<Vec<_>>(),
            [(&b"1"[..], Region::Bucket)]
        );
        assert_eq!(odd_of(&[immutable.clone(), mutable(1, 1, 1)]).of_bucket.len(), 1);
    }
}
