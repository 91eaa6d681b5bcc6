//! The scenarios: who is connected to which node, who sends, and who is to receive.

use bench_support::{
    generator::Order,
    groups::{Dice, Group, Groups},
    message::Kind,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// 200 users with two sockets each, on two nodes where there are two.
    Users,
    /// Users as before, and one node more whose clients nobody addresses.
    UsersBesideIdle,
    /// Four rooms of 100, spread evenly.
    LargeRooms,
    /// 2,000 rooms of five, their members on neighbouring nodes.
    SmallRooms,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) shape: Shape,
    pub(crate) nodes: usize,
    /// Messages in flight, each number a measurement of its own: in each large room, otherwise in all
    /// groups together.
    pub(crate) closed: &'static [usize],
    /// Messages a second in all groups together.
    pub(crate) open: u32,
}

pub(crate) struct Layout {
    pub(crate) groups: Groups,
    /// The node of each client.
    pub(crate) nodes: Vec<usize>,
}

/// All scenarios; with `quick` a part that shows whether they work.
pub(crate) fn all(quick: bool) -> Vec<Scenario> {
    let scenario = |shape, nodes| {
        let (closed, open): (&[_], _) = match shape {
            Shape::Users | Shape::UsersBesideIdle => (&[400], 400),
            // The fewer there are, the less can be written together.
            Shape::LargeRooms => (&[16, 4, 2, 1], 40),
            Shape::SmallRooms => (&[400], 300),
        };
        Scenario { shape, nodes, closed, open }
    };
    let mut all = vec![
        scenario(Shape::Users, 1),
        scenario(Shape::Users, 2),
        scenario(Shape::Users, 4),
        scenario(Shape::LargeRooms, 1),
        scenario(Shape::LargeRooms, 2),
        scenario(Shape::LargeRooms, 4),
        scenario(Shape::SmallRooms, 1),
        scenario(Shape::SmallRooms, 2),
        scenario(Shape::SmallRooms, 4),
        scenario(Shape::UsersBesideIdle, 2),
    ];
    all.retain(|it| !quick || it.shape != Shape::LargeRooms || it.nodes == 2);
    all
}

impl Scenario {
    pub(crate) fn called(&self) -> String {
        let what = match self.shape {
            Shape::Users => "user emit",
            Shape::UsersBesideIdle => return "user emit, 2 nodes and an idle one".to_owned(),
            Shape::LargeRooms => "room of 100",
            Shape::SmallRooms => "small rooms",
        };
        format!("{what}, {} node{}", self.nodes, if self.nodes == 1 { "" } else { "s" })
    }

    /// How many processes are started, an idle one included; it is the last.
    pub(crate) fn processes(&self) -> usize {
        self.nodes + usize::from(self.has_idle())
    }

    pub(crate) fn has_idle(&self) -> bool {
        self.shape == Shape::UsersBesideIdle
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.shape {
            Shape::Users | Shape::UsersBesideIdle => Kind::User,
            Shape::LargeRooms | Shape::SmallRooms => Kind::Room,
        }
    }

    pub(crate) fn order(&self) -> Order {
        if self.shape == Shape::LargeRooms { Order::InTurn } else { Order::Random }
    }

    pub(crate) fn layout(&self) -> Layout {
        let (count, members): (usize, fn(usize) -> usize) = match self.shape {
            Shape::Users | Shape::UsersBesideIdle => (200, |_| 2),
            Shape::LargeRooms => (4, |_| 100),
            Shape::SmallRooms => (2000, |_| 5),
        };
        let (mut nodes, mut of_client, mut first) = (Vec::new(), Vec::new(), Vec::new());
        for group in 0..count {
            first.push(nodes.len());
            // The second member is not always the neighbour of the first.
            let step = 1 + group / self.nodes % self.nodes.saturating_sub(1).max(1);
            let step = if self.kind() == Kind::User { step } else { 1 };
            for member in 0..members(group) {
                nodes.push((group + member * step) % self.nodes);
                of_client.push(Some(group));
            }
        }
        let addressed = nodes.len();
        if self.has_idle() {
            nodes.extend([self.nodes; 20]);
            of_client.extend([None; 20]);
        }
        let mut dice = Dice::default();
        let groups = first.into_iter().enumerate().map(|(group, first)| Group {
            members: members(group),
            sender: match self.kind() {
                // Somebody else, anywhere.
                Kind::User => dice.below(addressed),
                _ => first,
            },
        });
        Layout { groups: Groups { groups: groups.collect(), of_client }, nodes }
    }
}
