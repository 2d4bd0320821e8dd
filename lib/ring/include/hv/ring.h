/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One VMBus ring: producer end (hv_ring_tx) and consumer end (hv_ring_rx).  Knows no channel and no signal mechanism:
 * it only says when the peer must be signalled.  Used by guest and host alike.  Private: not installed.
 *
 * Life of a producer:  init -> { reserve, fill in place }* -> publish -> ...
 * Life of a consumer:  init -> { peek, look at it in place }* -> release -> ...
 *
 * Producer before sleeping on a full ring:  publish; want_room() says false; sleep; clear_want().
 * Consumer awake: mask().  Before sleeping on an empty ring:  release; unmask() says false; sleep; mask().
 *
 * One thread per end.  The data area must be mapped twice in a row (hv_ring_map), so that a packet is never split.
 * Private copies of the indices are the master; the peer's index is loaded only when the copy says full or empty, and
 * checked.  What the peer may not do (index out of range, misaligned or moved back, lengths that do not fit, unknown
 * type) makes the end dead: -EPROTO from then on, and hv_ring_fault_text() says why.
 * Layout, trust and ordering: hv/wire/ring.h; signalling rules: docs/wire.md "Signalling".
 */
#ifndef HV_RING_H
#define HV_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hv/packet.h>
#include <hv/wire/ring.h>

/** Control page and doubly mapped data of one ring; the memory belongs to whoever mapped it. */
struct hv_ring_area {
    struct hv_ring_control *control;
    uint8_t *data;       /* data_bytes, and the same data_bytes again behind it */
    uint32_t data_bytes; /* multiple of 4096 */
    uint8_t *shared; /* NULL, or: what the peer sees, mapped once; `data` is a private copy of it */
    uint8_t *span;   /* address space to be given back */
    size_t span_bytes;
};

/** Smallest and largest legal ring, control page included. */
#define HV_RING_MIN_BYTES (2 * HV_PAGE_BYTES)
#define HV_RING_MAX_BYTES (1u << 30)

/** What the peer did to kill this end. */
enum hv_ring_fault {
    HV_RING_FAULT_NONE,
    HV_RING_FAULT_INDEX_RANGE, /* index beyond the data area */
    HV_RING_FAULT_INDEX_ALIGN, /* index no multiple of 8 */
    HV_RING_FAULT_INDEX_MOVED, /* index went back, or past what this end allows */
    HV_RING_FAULT_TYPE,        /* packet type unknown */
    HV_RING_FAULT_FLAGS,       /* flag other than "completion requested" */
    HV_RING_FAULT_OFFSET,      /* payload starts inside the descriptor or behind the packet */
    HV_RING_FAULT_LENGTH,      /* packet and trailer exceed what was published */
};

/** Producer end, in the caller's storage, zeroed before the first init.  Members are private to lib/ring. */
struct hv_ring_tx {
    struct hv_ring_area area;
    uint32_t write;     /* private write position, packets up to here are reserved */
    uint32_t published; /* what the peer has been shown */
    uint32_t peer_read; /* last checked copy of read_index */
    uint32_t room;      /* bytes between write and peer_read; 0 when dead */
    uint32_t max_bytes; /* largest packet with its trailer */
    enum hv_ring_fault fault;
    struct hv_ring_stats stats;
};

/** Consumer end, in the caller's storage, zeroed before the first init.  Members are private to lib/ring. */
struct hv_ring_rx {
    struct hv_ring_area area;
    uint32_t read;       /* private read position, packets up to here were peeked */
    uint32_t released;   /* what the peer has been given back */
    uint32_t peer_write; /* last checked copy of write_index */
    uint32_t available;  /* bytes between read and peer_write; 0 when dead */
    enum hv_ring_fault fault;
    struct hv_ring_stats stats;
};

/**
 * Map the two rings of a channel from one file, each data area twice in a row, with guard pages around.
 *
 * @fd           Memory of the channel: G2H ring then H2G ring, each a control page and data.  Mapped for good: the file
 *               may be closed.  It must not shrink afterwards (a memfd from a peer needs F_SEAL_SHRINK).
 * @offset       Start in the file, page aligned.
 * @out_bytes    G2H ring with its control page; @in_bytes the H2G ring.  Each HV_RING_MIN_BYTES .. HV_RING_MAX_BYTES,
 *               multiple of 4096.
 * @ret_out,@ret_in  Written on success only; release each with hv_ring_unmap().
 *
 * Returns 0, -EINVAL (sizes, alignment, file too short), or the negative errno of mmap or fstat.
 */
int hv_ring_map(int fd, uint64_t offset, uint32_t out_bytes, uint32_t in_bytes,
                struct hv_ring_area *ret_out, struct hv_ring_area *ret_in);

/**
 * Map a single ring whose pages lie scattered over files: page i is at fds[i], offsets[i]; page 0 is the control page.
 * Pages that follow each other in one file are mapped as one run.  Else as hv_ring_map().
 */
int hv_ring_map_pages(const int *fds, const uint64_t *offsets, uint32_t page_count,
                      struct hv_ring_area *ret_area);

/**
 * Map the two rings of a channel from a device file that can only be mapped whole and from its start, because its
 * offset selects the map (/dev/uioN): twice, and the data areas of the second copy moved behind those of the first.
 * The result is tried out on the last 8 bytes of each ring, which are put back as they were.
 *
 * @page_bytes  Page size of the guest: what the control page takes in this mapping, and the granularity of all sizes.
 *
 * Else as hv_ring_map(); -EIO: the second copy does not show what was written to the first.
 */
int hv_ring_map_device(int fd, uint64_t offset, uint32_t page_bytes, uint32_t out_bytes,
                       uint32_t in_bytes, struct hv_ring_area *ret_out,
                       struct hv_ring_area *ret_in);
/**
 * The same for a kernel that refuses that: data areas are mapped once (hv_ring_area.shared), and both ends work in a
 * private copy.  A publish copies out, a fresh look at the peer's write index copies in.
 */
int hv_ring_map_device_copied(int fd, uint64_t offset, uint32_t page_bytes, uint32_t out_bytes,
                              uint32_t in_bytes, struct hv_ring_area *ret_out,
                              struct hv_ring_area *ret_in);

/**
 * The memory behind the ring is about to be somebody else's: put private memory of undefined content in its place.
 * Addresses stay good, so an end in another thread may be at work meanwhile; what it does there reaches nobody.
 * Returns 0 or the negative errno of mmap.
 */
int hv_ring_detach(const struct hv_ring_area *area);

/** Undo any of them; takes a zeroed area too, and leaves a zeroed one. */
void hv_ring_unmap(struct hv_ring_area *area);

/** Guest, before open, for each of the two rings: zero the control page and set the feature bit. */
void hv_ring_reset(const struct hv_ring_area *area);

/**
 * Start the producer end at the position that the control page shows (0 after a reset): withdraws a stale request for
 * room and sets the feature bit.  Counters go on counting.
 * Returns 0, -EINVAL (area), -EPROTO (impossible indices).
 */
int hv_ring_tx_init(struct hv_ring_tx *tx, const struct hv_ring_area *area);
/** The same for the consumer; the interrupt mask stays as it is. */
int hv_ring_rx_init(struct hv_ring_rx *rx, const struct hv_ring_area *area);

/** One line about what killed an end. */
const char *hv_ring_fault_text(enum hv_ring_fault fault);

/** Longest payload plus extension that a packet in this ring can ever carry. */
uint32_t hv_ring_tx_max_bytes(const struct hv_ring_tx *tx);

/** Ring bytes that a packet needs, trailer included. */
static inline uint32_t hv_ring_packet_bytes(uint32_t ext_bytes, uint32_t payload_bytes)
{
    return HV_RING_DESCRIPTOR_BYTES + ext_bytes + ((payload_bytes + 7u) & ~7u) +
           HV_RING_TRAILER_BYTES;
}

/**
 * Take room for one packet and write its descriptor, padding and trailer; the caller fills the slot before the next
 * publish.  Not visible to the peer before hv_ring_tx_publish().
 *
 * Returns 0, or (ret_slot untouched)
 *   -EAGAIN    too few free bytes now;
 *   -EMSGSIZE  could never fit this ring;
 *   -EINVAL    ext_bytes is no multiple of 8;
 *   -EPROTO    the peer's read index is impossible: the ring is dead.
 */
static inline int hv_ring_tx_reserve(struct hv_ring_tx *tx, const struct hv_packet_desc *desc,
                                     struct hv_packet_slot *ret_slot);

/** Show all reserved packets to the peer.  Returns true when the peer must be signalled now. */
static inline bool hv_ring_tx_publish(struct hv_ring_tx *tx);

/** Free bytes, after a fresh look at the peer's index; a packet fits when it needs fewer.  0 when dead. */
uint32_t hv_ring_tx_free(struct hv_ring_tx *tx);

/**
 * Ask the peer for a signal when a packet of `bytes` (hv_ring_packet_bytes()) fits, before sleeping on a full ring.
 * Publish first: a peer that has nothing to read makes no room.  More than ever fits counts as a whole empty ring.
 * Returns true when there is room already or the ring is dead (do not sleep); the request is then withdrawn.
 */
bool hv_ring_tx_want_room(struct hv_ring_tx *tx, uint32_t bytes);
/** Withdraw the request: once awake, else the peer goes on signalling. */
void hv_ring_tx_clear_want(struct hv_ring_tx *tx);

/**
 * Next packet, in place.  Returns 0, -EAGAIN (empty), or -EPROTO (corrupt: dead from now on); ret_packet is written on
 * success only.  Peeked packets stay readable until hv_ring_rx_release().
 */
static inline int hv_ring_rx_peek(struct hv_ring_rx *rx, struct hv_packet *ret_packet);

/** Give back the space of every peeked packet.  Returns true when the peer waits for that room: signal it. */
static inline bool hv_ring_rx_release(struct hv_ring_rx *rx);

/** Awake: tell the peer not to signal new data. */
void hv_ring_rx_mask(struct hv_ring_rx *rx);
/**
 * About to sleep: unmask, then look again.  Returns true when there is a reason to stay awake (mask again and go on):
 * data, a dead ring, or peeked packets not released, for the peer signals only a ring that was empty.
 */
bool hv_ring_rx_unmask(struct hv_ring_rx *rx);
/** A reason to stay awake, as hv_ring_rx_unmask() sees it, for a reader that leaves the mask as it is. */
bool hv_ring_rx_busy(const struct hv_ring_rx *rx);
/** True when a packet waits or the ring is dead: peek will say which.  At most one shared load. */
bool hv_ring_rx_ready(const struct hv_ring_rx *rx);

/** The private copy of a ring that is mapped once: bring [from, to) in from the peer, or out to it. */
void hv_ring_copy_in_(const struct hv_ring_area *area, uint32_t from, uint32_t to);
void hv_ring_copy_out_(const struct hv_ring_area *area, uint32_t from, uint32_t to);

#include <hv/ring_inline.h>

#endif
