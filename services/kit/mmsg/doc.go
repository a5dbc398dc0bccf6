// Package mmsg sends and receives many UDP datagrams per system call on Linux:
// recvmmsg(2), sendmmsg(2) and UDP generic segmentation offload (UDP_SEGMENT,
// udp(7)). It allocates nothing once a batch is made.
//
// Words, from small to large:
//
//	slot     the room for one received datagram in an Inbox
//	message  what the kernel takes at once: one datagram, or several of one size
//	         to one destination that it cuts apart itself (the last may be
//	         shorter)
//	batch    the datagrams of one system call: an Inbox in, an Outbox out
//	Socket   a nonblocking UDP socket of one address family
//	Poller   sockets to be waited for together (epoll(7))
//
// # Errors
//
// Nothing here waits but Poller.Wait. What each error of the kernel means:
//
//	EINTR         the call is made again
//	EAGAIN        receiving: there is nothing (more). Sending: the socket's
//	              buffer is full; this datagram and the rest of the batch fail
//	ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EMSGSIZE and their kin
//	              usually about an earlier datagram: the kernel reports an ICMP
//	              error by failing the next call. The call is made once more,
//	              and then for as long as the socket's error queue has errors;
//	              one that comes without any is about the datagram itself
//	EIO, EINVAL, EMSGSIZE, EOPNOTSUPP on a message of several datagrams
//	              the interface may be unable to segment: they are sent one by
//	              one, and if that works where size cannot be the reason, the
//	              socket makes no such messages from then on
//	EINVAL, EADDRNOTAVAIL, ENETUNREACH on a datagram with a source
//	              it may be no address to send from: the kernel chooses one
//	any other     this datagram fails, and the batch goes on with the next
package mmsg
