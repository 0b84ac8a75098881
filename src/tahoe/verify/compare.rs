//! The shares of one bucket beside each other: what each must have in common with the rest.
//!
//! Pure. Two shares show that there is a difference, three show which of them is odd: where more than half of the shares
//! agree, the others are named; else all of them are in doubt. A share that is corrupt by itself is under no suspicion here, and
//! is a witness only for what a sound one says as well: chance makes no two shares wrong in the same way.

use std::collections::BTreeMap;

use super::checker::JudgedShare;
use crate::job::scrub::{Flaw, Span};
use crate::shown;
use crate::tahoe::check::CommonFields;
use crate::tahoe::container::ShareType;
use crate::tahoe::hash::{HASH_LEN, Hash};
use crate::tahoe::region::Region;
use crate::tahoe::ueb::Ueb;

/// The names of shares that differ are told up to this length: more than enough for 256 shares as Tahoe names them.
const NAMES_LEN_MOST: usize = 2048;

/// A share of which enough could be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ComparedShare<'a> {
    pub name: &'a [u8],
    pub common: &'a CommonFields,
    pub share_type: ShareType,
    /// Whether it was found wanting by itself.
    pub has_flaws: bool,
}

/// What is odd in a bucket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct OddBucket {
    /// Shares, by name.
    pub of_shares: Vec<(Vec<u8>, Flaw)>,
    /// What cannot be laid to any one share.
    pub ties: Vec<Tie>,
}

/// Shares that differ, and nothing tells which of them is right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tie {
    pub flaw: Flaw,
    /// All that are in doubt, by name.
    pub names: Vec<Vec<u8>>,
}

/// Compares the shares of a batch that could be read.
pub(super) fn across_batch(batch: &[JudgedShare]) -> OddBucket {
    let members = batch.iter().filter_map(|judged| {
        let checked = &judged.read()?.checked;
        let (common, share_type) = (checked.facts.common.as_ref()?, checked.facts.share_type?);
        Some(ComparedShare { name: judged.name(), common, share_type, has_flaws: !checked.flaws.is_empty() })
    });
    across(&members.collect::<Vec<_>>())
}

/// Compares all shares of a bucket.
fn across(members: &[ComparedShare<'_>]) -> OddBucket {
    let mut odd = OddBucket::default();
    let kinds = agree(members, |m| (m.share_type == ShareType::Mutable).to_string().into_bytes());
    let tied = "some are mutable, some are not, and which are right cannot be told";
    kinds.tell(&mut odd, "are of one kind, this is of the other", tied, |_, _| (Region::Bucket, None));
    let of_kind = members.iter().copied().filter(|member| !odd.names(member));
    let (immutable, mutable): (Vec<_>, Vec<_>) =
        of_kind.partition(|member| matches!(member.common, CommonFields::Immutable { .. }));
    let uebs = agree(&immutable, |m| ueb_of(m).0.to_vec());
    let tied = "its shares have different UEBs, and which is right cannot be told";
    uebs.tell(&mut odd, "have another UEB", tied, differing_ueb);
    // A file has one key in all its versions; its storage index is made from it.
    let keys = agree(&mutable, |m| part_of(m, Region::PublicKey).map_or(Vec::new(), |(_, hash)| hash.to_vec()));
    let what = "its shares are of files with different keys, and which is right cannot be told";
    keys.tell(&mut odd, "have another public key: this one is of another file", what, |_, _| (Region::Bucket, None));
    let mut versions: BTreeMap<(u64, Hash), Vec<ComparedShare<'_>>> = BTreeMap::new();
    for member in mutable.into_iter().filter(|member| !odd.names(member)) {
        if let CommonFields::Mutable { version, .. } = member.common {
            versions.entry(*version).or_default().push(member);
        }
    }
    for version in versions.values() {
        for region in [Region::SignedFields, Region::Signature, Region::PrivateKey] {
            let parts = agree(version, |m| part_of(m, region).map_or(Vec::new(), |(_, hash)| hash.to_vec()));
            let tied = format!("the shares of one version differ in their {region}, and which is right cannot be told");
            let said = format!("and of this version have another {region}");
            parts.tell(&mut odd, &said, &tied, |m, _| (region, part_of(m, region).map(|(span, _)| span)));
        }
    }
    odd
}

impl OddBucket {
    /// Whether a share was found odd: then it has no more to say, and nothing more is said of it.
    fn names(&self, member: &ComparedShare<'_>) -> bool {
        self.of_shares.iter().any(|(name, _)| name == member.name)
    }
}

/// Shares by what they say.
struct Agreement<'a> {
    /// Those of the largest group, if it is more than half.
    normal: Option<Vec<ComparedShare<'a>>>,
    /// Sound shares that say something else; all sound ones, where there is no such group.
    others: Vec<ComparedShare<'a>>,
}

fn agree<'a>(members: &[ComparedShare<'a>], say: impl Fn(&ComparedShare<'a>) -> Vec<u8>) -> Agreement<'a> {
    let mut groups: BTreeMap<Vec<u8>, Vec<ComparedShare<'a>>> = BTreeMap::new();
    for member in members {
        groups.entry(say(member)).or_default().push(*member);
    }
    groups.retain(|_, group| group.iter().any(|member| !member.has_flaws));
    let all: usize = groups.values().map(Vec::len).sum();
    let largest = groups.iter().find(|(_, group)| 2 * group.len() > all).map(|(key, _)| key.clone());
    let normal = largest.and_then(|key| groups.remove(&key));
    let mut others: Vec<ComparedShare<'a>> =
        groups.into_values().flatten().filter(|member| !member.has_flaws).collect();
    others.sort_unstable_by_key(|member| member.name);
    Agreement { normal, others }
}

impl Agreement<'_> {
    /// Tells who is odd: those who do not agree with more than half; or, where there is no such half, that they differ.
    /// `place` says where a share differs from another.
    fn tell(
        &self,
        odd: &mut OddBucket,
        said: &str,
        tied: &str,
        place: impl Fn(&ComparedShare<'_>, &ComparedShare<'_>) -> (Region, Option<Span>),
    ) {
        if let Some(normal) = &self.normal {
            for member in &self.others {
                let (region, bytes) = place(member, &normal[0]);
                let reason = format!("{} other shares of the bucket {said}", normal.len());
                odd.of_shares.push((member.name.to_vec(), Flaw { region: region.as_str(), reason, bytes }));
            }
            return;
        }
        // The widest of the regions: whoever is right, they are the same.
        let regions = self.others.iter().map(|member| place(member, &self.others[0]).0);
        let Some(region) = regions.max() else { return };
        let reason = format!("{tied} (shares {})", self.names_of_others());
        let names = self.others.iter().map(|member| member.name.to_vec()).collect();
        odd.ties.push(Tie { flaw: Flaw { region: region.as_str(), reason, bytes: None }, names });
    }
}

impl Agreement<'_> {
    /// The names of the shares that differ, as many as there is room for.
    fn names_of_others(&self) -> String {
        let mut text = String::new();
        for (named, member) in self.others.iter().enumerate() {
            if text.len() > NAMES_LEN_MOST {
                return format!("{text} and {} more", self.others.len() - named);
            }
            let comma = if named > 0 { ", " } else { "" };
            text.push_str(&format!("{comma}{}", shown::name(member.name)));
        }
        text
    }
}

fn ueb_of<'a>(member: &ComparedShare<'a>) -> (&'a [u8], u64) {
    match member.common {
        CommonFields::Immutable { ueb, at } => (ueb, *at),
        CommonFields::Mutable { .. } => (&[], 0),
    }
}

fn part_of(member: &ComparedShare<'_>, region: Region) -> Option<(Span, Hash)> {
    match member.common {
        CommonFields::Mutable { parts, .. } => {
            parts.iter().find(|(r, ..)| *r == region).map(|(_, span, hash)| (*span, *hash))
        }
        CommonFields::Immutable { .. } => None,
    }
}

/// Where a UEB differs from another: at most in the hash that nothing else in a share agrees with, or so that it is of another
/// file, all by itself in order.
fn differing_ueb(member: &ComparedShare<'_>, other: &ComparedShare<'_>) -> (Region, Option<Span>) {
    let ((ueb, at), (other, _)) = (ueb_of(member), ueb_of(other));
    let of_another_file = (Region::Bucket, None);
    let Some(hash) = Ueb::crypttext_hash_at(ueb).filter(|_| ueb.len() == other.len()) else { return of_another_file };
    let differs = |place: &usize| ueb[*place] != other[*place];
    let Some(first) = (0..ueb.len()).find(differs) else { return (Region::UebCrypttextHash, None) };
    let last = (0..ueb.len()).rfind(differs).unwrap_or(first);
    if first < hash || last >= hash + HASH_LEN {
        return of_another_file;
    }
    (Region::UebCrypttextHash, Some(Span::new(at + first as u64, at + last as u64 + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutable(version: u64, key: u8, private: u8) -> CommonFields {
        let part = |region, byte: u8| (region, Span::new(1, 2), [byte; 32]);
        let parts = vec![part(Region::PublicKey, key), part(Region::PrivateKey, private)];
        CommonFields::Mutable { version: (version, [0; 32]), parts }
    }

    fn odd_of(all: &[CommonFields]) -> OddBucket {
        odd_with(&all.iter().map(|common| (common, false)).collect::<Vec<_>>())
    }

    /// What is odd in shares that are corrupt by themselves, or not.
    fn odd_with(all: &[(&CommonFields, bool)]) -> OddBucket {
        let names: Vec<Vec<u8>> = (0..all.len()).map(|i| i.to_string().into_bytes()).collect();
        let member = |(&(common, has_flaws), name)| {
            let share_type =
                if matches!(common, &CommonFields::Mutable { .. }) { ShareType::Mutable } else { ShareType::Immutable };
            ComparedShare { name, common, share_type, has_flaws }
        };
        across(&all.iter().zip(names.iter().map(Vec::as_slice)).map(member).collect::<Vec<_>>())
    }

    #[test]
    fn three_show_which_is_odd_and_two_that_one_is() {
        let good = mutable(1, 1, 1);
        assert_eq!(odd_of(&[good.clone(), good.clone()]), OddBucket::default());
        let odd = odd_of(&[good.clone(), mutable(1, 1, 9), good.clone()]);
        let [(name, flaw)] = &odd.of_shares[..] else { panic!("{odd:?}") };
        assert_eq!(
            (&name[..], flaw.region, flaw.bytes),
            (&b"1"[..], Region::PrivateKey.as_str(), Some(Span::new(1, 2)))
        );
        assert_eq!(flaw.reason, "2 other shares of the bucket and of this version have another encrypted private key");
        assert!(odd.ties.is_empty());
        let odd = odd_of(&[good.clone(), mutable(1, 1, 9)]);
        assert!(odd.of_shares.is_empty());
        let [Tie { flaw, names }] = &odd.ties[..] else { panic!("{odd:?}") };
        assert_eq!((flaw.region, &names[..]), (Region::PrivateKey.as_str(), &[b"0".to_vec(), b"1".to_vec()][..]));
        assert!(flaw.reason.ends_with("cannot be told (shares 0, 1)"));
    }

    #[test]
    fn a_corrupt_share_is_no_suspect_and_a_witness_only_beside_a_sound_one() {
        let (one, other) = (mutable(1, 1, 1), mutable(1, 1, 9));
        let found = |all: &[(&CommonFields, bool)]| {
            let OddBucket { of_shares, ties } = odd_with(all);
            let names: Vec<_> = of_shares.into_iter().map(|(name, _)| name).collect();
            (names.concat(), ties.into_iter().flat_map(|tie| tie.names).collect::<Vec<_>>().concat())
        };
        let none = || (Vec::new(), Vec::new());
        for corrupt in [[true, false], [false, true], [true, true]] {
            assert_eq!(found(&[(&one, corrupt[0]), (&other, corrupt[1])]), none(), "{corrupt:?}");
        }
        // Two corrupt ones that say the same do not outvote a sound one.
        assert_eq!(found(&[(&one, false), (&other, true), (&other, true)]), none());
        // But they support one.
        assert_eq!(found(&[(&one, false), (&other, false), (&one, true)]), (b"1".to_vec(), Vec::new()));
        let tied = found(&[(&one, false), (&other, false), (&one, true), (&other, true)]);
        assert_eq!(tied, (Vec::new(), b"01".to_vec()));
    }

    #[test]
    fn the_region_of_a_tie_is_the_same_whichever_share_is_wrong() {
        let ueb = |byte: u8, size: &str| {
            let ueb = [b"crypttext_hash:32:".to_vec(), vec![byte; 32], format!(",size:{size},").into_bytes()].concat();
            CommonFields::Immutable { ueb, at: 9 }
        };
        let region = |all: &[CommonFields]| odd_of(all).ties.iter().map(|tie| tie.flaw.region).collect::<Vec<_>>();
        let (one, hash, file) = (ueb(1, "1:5"), ueb(2, "1:5"), ueb(1, "1:6"));
        assert_eq!(region(&[one.clone(), hash.clone()]), [Region::UebCrypttextHash]);
        assert_eq!(region(&[hash.clone(), one.clone()]), [Region::UebCrypttextHash]);
        assert_eq!(region(&[one.clone(), one.clone(), hash.clone(), hash.clone()]), [Region::UebCrypttextHash]);
        assert_eq!(region(&[one.clone(), file.clone()]), [Region::Bucket]);
        for all in [[&one, &hash, &file], [&hash, &file, &one], [&file, &one, &hash]] {
            assert_eq!(region(&all.map(Clone::clone)), [Region::Bucket]);
        }
    }

    #[test]
    fn versions_may_differ_but_not_in_their_key() {
        assert_eq!(odd_of(&[mutable(1, 1, 1), mutable(2, 1, 2)]), OddBucket::default());
        let odd = odd_of(&[mutable(1, 1, 1), mutable(1, 1, 1), mutable(2, 7, 1)]);
        assert_eq!(
            odd.of_shares.iter().map(|(n, f)| (&n[..], f.region)).collect::<Vec<_>>(),
            [(&b"2"[..], Region::Bucket.as_str())]
        );
    }

    #[test]
    fn a_share_of_the_other_kind_is_in_the_wrong_bucket() {
        let immutable = CommonFields::Immutable { ueb: b"u".to_vec(), at: 9 };
        let odd = odd_of(&[mutable(1, 1, 1), immutable.clone(), mutable(1, 1, 1)]);
        assert_eq!(
            odd.of_shares.iter().map(|(n, f)| (&n[..], f.region)).collect::<Vec<_>>(),
            [(&b"1"[..], Region::Bucket.as_str())]
        );
        assert_eq!(odd_of(&[immutable.clone(), mutable(1, 1, 1)]).ties.len(), 1);
    }
}
