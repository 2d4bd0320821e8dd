/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens once per open or per sleep; the data path is in hv/ring_inline.h. */
#include <hv/ring.h>

#include <hv/base/bits.h>

static bool area_is_legal(const struct hv_ring_area *area)
{
    return area->control && area->data && area->data_bytes &&
           area->data_bytes % HV_PAGE_BYTES == 0 &&
           area->data_bytes <= HV_RING_MAX_BYTES - HV_PAGE_BYTES;
}

void hv_ring_reset(const struct hv_ring_area *area)
{
    memset(area->control, 0, sizeof(*area->control));
    atomic_store(&area->control->feature_bits, HV_RING_FEATURE_PENDING_SEND_SIZE);
}

/** Both indices, checked; nothing is known yet that they could contradict. */
static int load_indices(const struct hv_ring_area *area, uint32_t *ret_write, uint32_t *ret_read)
{
    uint32_t write, read;

    if (!area_is_legal(area))
        return -EINVAL;
    write = atomic_load_explicit(&area->control->write_index, memory_order_acquire);
    read = atomic_load_explicit(&area->control->read_index, memory_order_acquire);
    if (hv_ring_check_index_(write, area->data_bytes) ||
        hv_ring_check_index_(read, area->data_bytes))
        return -EPROTO;
    *ret_write = write;
    *ret_read = read;
    return 0;
}

int hv_ring_tx_init(struct hv_ring_tx *tx, const struct hv_ring_area *area)
{
    uint32_t write, read;
    int err = load_indices(area, &write, &read);

    if (err)
        return err;
    tx->area = *area;
    tx->write = write;
    tx->published = write;
    tx->peer_read = read;
    tx->room = area->data_bytes - hv_ring_distance_(read, write, area->data_bytes);
    /* equal indices mean empty: 8 bytes always stay free */
    tx->max_bytes = hv_min_u32(area->data_bytes - HV_RING_ALIGN_BYTES,
                               HV_RING_PACKET_MAX_BYTES + HV_RING_TRAILER_BYTES);
    tx->fault = HV_RING_FAULT_NONE;
    atomic_store_explicit(&area->control->pending_send_size, 0, memory_order_relaxed);
    atomic_fetch_or(&area->control->feature_bits, HV_RING_FEATURE_PENDING_SEND_SIZE);
    return 0;
}

int hv_ring_rx_init(struct hv_ring_rx *rx, const struct hv_ring_area *area)
{
    uint32_t write, read;
    int err = load_indices(area, &write, &read);

    if (err)
        return err;
    rx->area = *area;
    rx->read = read;
    rx->released = read;
    rx->peer_write = write;
    rx->available = hv_ring_distance_(read, write, area->data_bytes);
    if (area->shared)
        hv_ring_copy_in_(area, read, write);
    rx->fault = HV_RING_FAULT_NONE;
    return 0;
}

const char *hv_ring_fault_text(enum hv_ring_fault fault)
{
    switch (fault) {
    case HV_RING_FAULT_NONE:
        return "no fault";
    case HV_RING_FAULT_INDEX_RANGE:
        return "ring index beyond the data area";
    case HV_RING_FAULT_INDEX_ALIGN:
        return "ring index is no multiple of 8";
    case HV_RING_FAULT_INDEX_MOVED:
        return "ring index moved back or too far";
    case HV_RING_FAULT_TYPE:
        return "packet of unknown type";
    case HV_RING_FAULT_FLAGS:
        return "packet with unknown flags";
    case HV_RING_FAULT_OFFSET:
        return "packet whose payload starts outside of it";
    case HV_RING_FAULT_LENGTH:
        return "packet longer than what was published";
    }
    return "unknown fault";
}

/** [from, to) of a ring as one piece or two. */
static void copy_range(uint8_t *to_data, const uint8_t *from_data, uint32_t data_bytes,
                       uint32_t from, uint32_t to)
{
    if (from > to) {
        memcpy(to_data + from, from_data + from, data_bytes - from);
        from = 0;
    }
    memcpy(to_data + from, from_data + from, to - from);
}

void hv_ring_copy_in_(const struct hv_ring_area *area, uint32_t from, uint32_t to)
{
    copy_range(area->data, area->shared, area->data_bytes, from, to);
}

void hv_ring_copy_out_(const struct hv_ring_area *area, uint32_t from, uint32_t to)
{
    copy_range(area->shared, area->data, area->data_bytes, from, to);
}

uint32_t hv_ring_tx_max_bytes(const struct hv_ring_tx *tx)
{
    return tx->max_bytes - HV_RING_DESCRIPTOR_BYTES - HV_RING_TRAILER_BYTES;
}

uint32_t hv_ring_tx_free(struct hv_ring_tx *tx)
{
    if (tx->fault || hv_ring_tx_take_(tx, atomic_load_explicit(&tx->area.control->read_index,
                                                               memory_order_acquire)))
        return 0;
    return tx->room;
}

bool hv_ring_tx_want_room(struct hv_ring_tx *tx, uint32_t bytes)
{
    struct hv_ring_control *control = tx->area.control;
    uint32_t size = tx->area.data_bytes;
    uint32_t most = size - HV_RING_ALIGN_BYTES;
    uint32_t hidden = hv_ring_distance_(tx->published, tx->write, size);
    uint32_t want = (uint32_t)hv_min_u64(hv_align_up(bytes, HV_RING_ALIGN_BYTES), most - hidden);

    if (tx->fault)
        return true;
    /* the peer does not see what is reserved and not yet published, so to it that counts as free */
    atomic_store_explicit(&control->pending_send_size, want + hidden, memory_order_seq_cst);
    if (!hv_ring_tx_take_(tx, atomic_load_explicit(&control->read_index, memory_order_seq_cst)) &&
        tx->room <= want)
        return false;
    hv_ring_tx_clear_want(tx);
    return true;
}

void hv_ring_tx_clear_want(struct hv_ring_tx *tx)
{
    atomic_store_explicit(&tx->area.control->pending_send_size, 0, memory_order_relaxed);
}

bool hv_ring_rx_made_room_(struct hv_ring_rx *rx, uint32_t pending, uint32_t consumed)
{
    struct hv_ring_control *control = rx->area.control;
    uint32_t size = rx->area.data_bytes;
    uint32_t free_now;

    if (!(atomic_load_explicit(&control->feature_bits, memory_order_acquire) &
          HV_RING_FEATURE_PENDING_SEND_SIZE))
        return false;
    if (hv_ring_rx_take_(rx, atomic_load_explicit(&control->write_index, memory_order_seq_cst)))
        return false; /* the next peek says so */
    /* some guests ask for all bytes but one, which no ring can give: count that as the whole empty ring */
    pending = hv_min_u32(pending, size - HV_RING_ALIGN_BYTES);
    free_now = size - hv_ring_distance_(rx->released, rx->peer_write, size);
    return free_now > pending && free_now - consumed <= pending;
}

void hv_ring_rx_mask(struct hv_ring_rx *rx)
{
    atomic_store_explicit(&rx->area.control->interrupt_mask, 1, memory_order_relaxed);
}

bool hv_ring_rx_unmask(struct hv_ring_rx *rx)
{
    struct hv_ring_control *control = rx->area.control;

    if (rx->fault || rx->read != rx->released)
        return true;
    atomic_store_explicit(&control->interrupt_mask, 0, memory_order_seq_cst);
    return hv_ring_rx_take_(rx,
                            atomic_load_explicit(&control->write_index, memory_order_seq_cst)) ||
           rx->available;
}

bool hv_ring_rx_busy(const struct hv_ring_rx *rx)
{
    return rx->read != rx->released || hv_ring_rx_ready(rx);
}

bool hv_ring_rx_ready(const struct hv_ring_rx *rx)
{
    return rx->fault || rx->available ||
           rx->read != atomic_load_explicit(&rx->area.control->write_index, memory_order_acquire);
}
