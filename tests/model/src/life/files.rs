// SPDX-License-Identifier: MIT OR Apache-2.0
//! Steps that make and delete files: `delete`, `sweep`, `discard`, `create`, `build`.

use super::step::Run;
use super::*;

impl Run<'_> {
    /// Where `delete` deletes: through its descriptor.
    fn doomed(&mut self) -> &mut Dir {
        if self.without(Mutation::DeletedByName) {
            if let Some(named) = self.state.named(Name::Topic) {
                return &mut self.state.dirs[named as usize];
            }
        }
        self.dir()
    }

    pub(super) fn delete(&mut self) {
        let peers_first = self.without(Mutation::PeersFirst);
        match self.at() {
            Label::DeleteNames => {
                let names = self.doomed().names() & if peers_first { !0 } else { !PEERS };
                self.me().names = names;
                self.delete_next();
            }
            Label::DeleteFile => {
                let names = self.me().names;
                let file = names & names.wrapping_neg();
                self.me().names &= !file;
                self.doomed().unlink(file);
                self.delete_next();
            }
            _ => {
                let only_peers = self.doomed().names() & !PEERS == 0;
                self.go(if only_peers { Label::DeletePeers } else { Label::DeleteDir });
            }
        }
    }

    fn delete_next(&mut self) {
        let Process { names, remains, .. } = *self.me();
        self.go(match (names, remains) {
            (0, true) => Label::DeleteDir,
            (0, false) => Label::DeleteNamesAgain,
            _ => Label::DeleteFile,
        });
    }

    pub(super) fn delete_end(&mut self) {
        if self.at() == Label::DeletePeers {
            self.doomed().unlink(PEERS);
            return self.go(Label::DeleteDir);
        }
        if let Some(named) = self.state.named(Name::Topic) {
            self.remove_dir(named);
        }
        self.give_back(false);
    }

    /// `rmdir`, which refuses what isn't empty.
    fn remove_dir(&mut self, index: u8) {
        let dir = &mut self.state.dirs[index as usize];
        if dir.names() == 0 {
            dir.name = Name::None;
        }
    }

    fn sweep_dead(&mut self) {
        let Process { other, .. } = *self.me();
        if self.without(Mutation::SweptUnrenamed) {
            return self.discard(other.expect("one is swept"), Name::New, After::SweepNext);
        }
        self.go(Label::SweepRename);
    }

    pub(super) fn sweep(&mut self) {
        match self.at() {
            Label::SweepNames => {
                let names = self.state.dirs.map(|dir| dir.name);
                self.me().listed = names.map(|name| if name == Name::Topic { Name::None } else { name });
                self.sweep_next();
            }
            Label::SweepOpenDir if self.other().name == Name::New => self.go(Label::SweepOpenPeers),
            Label::SweepOpenPeers if self.other().peers != File::Absent => self.go(Label::SweepHeader),
            _ => self.sweep_dead(),
        }
    }

    pub(super) fn sweep_one(&mut self) {
        let id = self.id();
        match self.at() {
            Label::SweepHeader if self.other().peers == File::Whole => self.go(Label::SweepLocks),
            Label::SweepLocks if self.other().others_alive(id) => self.sweep_next(),
            Label::SweepHeader | Label::SweepLocks => self.sweep_dead(),
            _ if self.other().name == Name::New => {
                self.other().name = Name::Dead;
                let other = self.me().other.expect("one is swept");
                self.discard(other, Name::Dead, After::SweepNext);
            }
            _ => self.sweep_next(),
        }
    }

    pub(super) fn discarding(&mut self) {
        match self.at() {
            Label::DiscardOpen => {
                let name = self.me().other_name;
                if self.other().name == name {
                    self.go(Label::DiscardNames);
                } else {
                    self.give_back(true);
                }
            }
            Label::DiscardNames => {
                let names = self.other().names();
                self.me().names = names;
                self.go(if names == 0 { Label::DiscardDir } else { Label::DiscardFile });
            }
            Label::DiscardFile => {
                let names = self.me().names;
                let file = names & names.wrapping_neg();
                self.me().names &= !file;
                self.other().unlink(file);
                self.go(if names == file { Label::DiscardDir } else { Label::DiscardFile });
            }
            _ => {
                let Process { other, other_name, .. } = *self.me();
                if self.other().name == other_name {
                    self.remove_dir(other.expect("one is discarded"));
                }
                self.give_back(true);
            }
        }
    }

    /// The topic's name for what was made, if the topic's directory isn't there or is empty.
    fn put_in_place(&mut self, made: u8) -> bool {
        let there = self.state.named(Name::Topic);
        if self.state.dirs[made as usize].name != Name::New {
            return false;
        }
        if let Some(there) = there {
            if self.state.dirs[there as usize].names() != 0 {
                return false;
            }
            self.state.dirs[there as usize].name = Name::None;
        }
        self.state.dirs[made as usize].name = Name::Topic;
        true
    }

    pub(super) fn making(&mut self) {
        match self.at() {
            Label::MakeDir => {
                let unused = |dir: &Dir| *dir == Dir::default();
                let known: Vec<_> =
                    self.state.processes.iter().flat_map(|p| [p.dir, p.making, p.other]).collect();
                let free =
                    (0..).zip(&self.state.dirs).find(|(i, dir)| unused(dir) && !known.contains(&Some(*i)));
                let made = free.expect("directories enough").0;
                self.state.dirs[made as usize].name = Name::New;
                self.me().making = Some(made);
                self.go(Label::BuildOpenDir);
            }
            Label::BuildOpenDir => {
                let made = self.me().making.expect("it makes one");
                let there = self.state.dirs[made as usize].name == Name::New;
                self.me().dir = there.then_some(made);
                self.go(if there { Label::BuildPeers } else { Label::Stolen });
            }
            Label::Rename => {
                let made = self.me().making.expect("it makes one");
                if self.put_in_place(made) {
                    return self.enter();
                }
                self.leave(After::GiveUpNew);
            }
            _ => {
                // Only one who was robbed may fail to make it.
                let made = self.me().making.expect("it makes one");
                let stolen = self.state.dirs[made as usize].name != Name::New;
                self.me().failed = !stolen;
                self.discard_made(Name::New, After::GiveUpDead);
            }
        }
    }

    pub(super) fn build(&mut self) {
        let early = self.without(Mutation::RenamedUnfinished);
        let linked = self.dir().name != Name::None;
        let at = self.at();
        let dir = self.dir();
        let (ok, next) = match at {
            Label::BuildPeers => {
                dir.peers = if linked { File::Blank } else { dir.peers };
                (linked, Label::BuildPeersHeader)
            }
            Label::BuildPeersHeader => {
                // What was unlinked meanwhile stays so.
                dir.peers = if dir.peers == File::Blank { File::Whole } else { dir.peers };
                (true, Label::BuildRing)
            }
            Label::BuildRing => {
                dir.ring = if linked { File::Blank } else { dir.ring };
                (linked, Label::BuildRingHeader)
            }
            Label::BuildRingHeader => {
                dir.ring = if dir.ring == File::Blank { File::Whole } else { dir.ring };
                (true, Label::BuildOpenPeers)
            }
            Label::BuildOpenPeers => (dir.peers != File::Absent, Label::BuildOpenRing),
            _ => (dir.ring != File::Absent, Label::TakeStatus),
        };
        self.me().scan = 0;
        self.go(if ok { next } else { Label::Stolen });
        if early && next == Label::BuildRing {
            let made = self.me().making.expect("it makes one");
            self.put_in_place(made);
        }
    }
}
