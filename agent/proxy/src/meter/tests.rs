use super::*;

#[tokio::test(start_paused = true)]
async fn idle_counts_from_the_last_byte() {
    let meter = Meter::new();
    sleep(Duration::from_secs(40)).await;
    meter.count(Way::Sent, 3);
    meter.count(Way::Received, 5);
    sleep(Duration::from_secs(2)).await;
    assert_eq!((meter.sent(), meter.received()), (3, 5));
    assert_eq!(meter.idle(), Duration::from_secs(2));

    meter.idle_for(Duration::from_secs(60)).await;
    assert_eq!(meter.elapsed(), Duration::from_secs(100));
}
